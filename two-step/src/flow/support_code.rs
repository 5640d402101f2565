//! Eight-digit codes that support sends to a validated address.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::counting::{LimitFor, count};
use super::events::OutboxHeader;
use super::support::SupportRefused;
use super::{Core, FlowError, LockedRows};
use crate::clock::{after, before, between};
use crate::code::SecretText;
use crate::method::{Channel, Kind, Method};
use crate::otpost_client::CODE_TEMPLATE;
use crate::seal::{Hashed, same};
use crate::store::{Dispatch, OutboxKind, SupportAction, SupportCase, SupportState, Tx, Value};

/// Life of a code by mail.
const MAIL_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Life of a code by text or call.
const PHONE_LIFE: Duration = Duration::from_secs(10 * 60);
/// Minimum life of a code for sending it. otpost rejects it below.
const MIN_CODE_LIFE: Duration = Duration::from_secs(10);

impl Core {
    /// Sends a code, which replaces an earlier one. The caller writes the case.
    pub(super) async fn send_support_code(
        &self, tx: &mut Tx, locked: &LockedRows, case: &mut SupportCase,
    ) -> Result<Result<(), SupportRefused>, FlowError> {
        if !locked.account.is_on() {
            return Ok(Err(SupportRefused::Off));
        }
        let now = locked.now;
        let able = || locked.methods.iter().filter(|m| can_receive_support_code(m));
        let method = match case.method {
            Some(id) => able().find(|m| m.id == id),
            None => able().find(|m| m.kind == Kind::Email).or_else(|| able().next()),
        };
        let Some(method) = method else { return Ok(Err(SupportRefused::Method)) };
        if let Some(until) = self.count_support_send(tx, locked, method).await? {
            return Err(FlowError::Limited { until, now });
        }
        for mut earlier in self.code_cases(tx, locked.account.id).await? {
            if earlier.id != case.id {
                earlier.state = SupportState::Stopped;
                tx.update(&earlier).await?;
                self.support_event(tx, &locked.account, "support.stopped", &earlier, &case.asked_by, now)
                    .await?;
            }
        }
        let digits = SecretText::random_for_support();
        let until = after(now, if method.kind == Kind::Email { MAIL_LIFE } else { PHONE_LIFE });
        case.method = Some(method.id);
        case.code_hash = Some(self.support_hash(case.id, &digits));
        (case.code_until, case.due_at) = (Some(until), until);
        if method.kind == Kind::Email {
            let product = &self.product(&locked.account.product)?.name;
            let minutes = between(now, until).as_secs().div_ceil(60);
            let body = json!({"to": *self.target(method)?, "kind": "code", "code": digits.expose(), "minutes": minutes,
                              "product": product, "locale": locked.account.locale});
            self.enqueue(
                tx,
                OutboxHeader { kind: OutboxKind::Mail, subject: case.id, account: Some(case.account) },
                &body,
                until,
                now,
            )
            .await?;
            return Ok(Ok(()));
        }
        self.dispatch_support_code(tx, locked, method, case.id, &digits, until).await.map(Ok)
    }

    async fn dispatch_support_code(
        &self, tx: &mut Tx, locked: &LockedRows, method: &Method, case: Uuid, digits: &SecretText,
        until: jiff::Timestamp,
    ) -> Result<(), FlowError> {
        let now = locked.now;
        let dispatch = Dispatch::new(method.id, case, channel_of(method), now);
        let body = json!({
            "id": dispatch.id, "to": *self.target(method)?, "code": digits.expose(), "expires_at": until,
            "channels": [dispatch.first_channel.to_string()], "fallback_after_s": 0, "template": CODE_TEMPLATE,
            "locale": locked.account.locale, "params": {"origin": self.config().public_url.host()},
            "supersedes": case, "issued_at": now,
        });
        tx.insert(&dispatch).await?;
        self.enqueue(
            tx,
            OutboxHeader {
                kind: OutboxKind::Dispatch,
                subject: dispatch.id,
                account: Some(locked.account.id),
            },
            &body,
            before(until, MIN_CODE_LIFE),
            now,
        )
        .await
    }

    /// Counts the send against the same limits as any other.
    async fn count_support_send(
        &self, tx: &mut Tx, locked: &LockedRows, method: &Method,
    ) -> Result<Option<jiff::Timestamp>, FlowError> {
        let (limits, target) = (&self.config().limits, method.target_hash.clone().unwrap_or_default());
        let (account, product) = (locked.account.id.to_string(), locked.account.product.clone());
        let mut counts = vec![
            LimitFor { name: "account_sends", subject: account, rules: &limits.account_sends },
            LimitFor { name: "product_sends", subject: product, rules: &limits.product_sends },
        ];
        if method.kind == Kind::Email {
            counts.push(LimitFor { name: "mails", subject: target, rules: &limits.mails });
        } else {
            if channel_of(method) == Channel::Voice {
                let (subject, rules) = (target.clone(), &limits.number_calls);
                counts.push(LimitFor { name: "number_calls", subject, rules });
            }
            counts.push(LimitFor { name: "number_sends", subject: target, rules: &limits.number_sends });
        }
        count(tx, &self.keys, &counts, locked.now).await
    }

    /// Returns the method that a code was sent to, and completes its case.
    pub(super) async fn use_support_code(
        &self, tx: &mut Tx, locked: &LockedRows, digits: &SecretText,
    ) -> Result<Option<Uuid>, FlowError> {
        let now = locked.now;
        for mut case in self.code_cases(tx, locked.account.id).await? {
            let live = case.code_until.is_some_and(|until| now < until);
            let hash = self.support_hash(case.id, digits);
            let fits = live && case.code_hash.as_deref().is_some_and(|kept| same(kept, &hash));
            let method = case.method.and_then(|id| locked.method(id)).filter(|m| can_receive_support_code(m));
            if let (true, Some(method)) = (fits, method) {
                case.state = SupportState::Done;
                tx.update(&case).await?;
                self.support_event(tx, &locked.account, "support.done", &case, &case.asked_by, now).await?;
                return Ok(Some(method.id));
            }
        }
        Ok(None)
    }

    /// Returns whether a code from support is live.
    pub(super) async fn has_live_support_code(
        &self, tx: &mut Tx, locked: &LockedRows,
    ) -> Result<bool, FlowError> {
        let cases = self.code_cases(tx, locked.account.id).await?;
        Ok(cases.iter().any(|case| case.code_until.is_some_and(|until| locked.now < until)))
    }

    /// Locks the cases of an account whose code is live.
    async fn code_cases(&self, tx: &mut Tx, account: Uuid) -> Result<Vec<SupportCase>, FlowError> {
        let waiting = "where account = $1 and state = 'waiting' and action = $2 order by id";
        let action = Value::Text(SupportAction::SendRecoveryCode.to_string());
        Ok(tx.select_locked::<SupportCase>(waiting, &[Value::Uuid(account), action]).await?)
    }

    fn support_hash(&self, case: Uuid, digits: &SecretText) -> String {
        self.keys.hash(Hashed::Support, &[case.as_bytes(), digits.expose().as_bytes()])
    }
}

/// Returns voice for a landline.
fn channel_of(method: &Method) -> Channel {
    if method.no_texts { Channel::Voice } else { Channel::Sms }
}

/// Returns whether a code from support may be sent to a method.
fn can_receive_support_code(method: &Method) -> bool {
    method.is_active() && method.verified_at.is_some() && matches!(method.kind, Kind::Phone | Kind::Email)
}
