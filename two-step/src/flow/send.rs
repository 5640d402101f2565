//! Sends codes: the first one, again, to another method, or by call.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::challenge_snapshot::challenge_snapshot_in;
use super::counting::{LimitFor, count, limited_until};
use super::events::OutboxHeader;
use super::{ChallengeSnapshot, Core, FlowError, LockedRows, Requester, lock_challenge};
use crate::account::Account;
use crate::challenge::{Challenge, Purpose, SendRefused};
use crate::clock::{after, between, seconds_until};
use crate::code::{Code, MAX_LIVE, RENEW_BELOW, SecretText};
use crate::limit::Limits;
use crate::method::{Channel, Kind, Method, MethodState};
use crate::otpost_client::CODE_TEMPLATE;
use crate::seal::{Hashed, Sealed};
use crate::store::{Dispatch, OutboxKind, Tx, Value, new_id};

/// `fallback_after_s` of a job: otpost calls only after the text has failed.
const FALLBACK_BY_FAILURE_ONLY: u32 = 0;
/// Minimum life of a code for sending it. otpost would reject it below.
const MIN_CODE_LIFE_S: u64 = 10;
/// How long a requested call may take to reach a carrier before it is placed again.
const CALL_ACCEPT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

impl Core {
    /// Sends a code of a challenge with a method. Without a channel, the phone's own channel is used.
    pub async fn send(
        &self, challenge: Uuid, who: &Requester, method: Option<Uuid>, channel: Option<Channel>,
    ) -> Result<Result<(), SendRefused>, FlowError> {
        Ok(self.send_and_snapshot(challenge, who, method, channel).await?.0)
    }

    /// The same, and returns the snapshot of the challenge afterwards.
    pub async fn send_and_snapshot(
        &self, challenge: Uuid, who: &Requester, method: Option<Uuid>, channel: Option<Channel>,
    ) -> Result<(Result<(), SendRefused>, ChallengeSnapshot), FlowError> {
        let mut tx = self.store.begin().await?;
        let (locked, mut challenge) = lock_challenge(&mut tx, challenge).await?;
        who.must_own(self, &locked.account, &challenge)?;
        challenge.open(self.config().challenge.life.0);
        let sent = self.send_in(&mut tx, &locked, &mut challenge, method, channel).await?;
        tx.update(&challenge).await?;
        let snapshot = challenge_snapshot_in(&mut tx, locked, challenge).await?;
        tx.commit().await?;
        Ok((sent, snapshot))
    }

    /// The same in a transaction that holds the locks. The caller writes the challenge.
    pub(super) async fn send_in(
        &self, tx: &mut Tx, locked: &LockedRows, challenge: &mut Challenge, method: Option<Uuid>,
        channel: Option<Channel>,
    ) -> Result<Result<(), SendRefused>, FlowError> {
        let now = locked.now;
        let Some(method) = method.or(challenge.method).and_then(|id| locked.method(id)) else {
            return Ok(Err(SendRefused::Method));
        };
        if !may_prove(method, challenge, self.config().email.second_step) {
            return Ok(Err(SendRefused::Method));
        }
        challenge.method = Some(method.id);
        let channel = match method.kind {
            Kind::Phone => Some(self.channel_of(method, channel)),
            Kind::Email => None,
            Kind::App => return self.create_app_request(tx, locked, challenge, method).await,
            // An authenticator sends nothing. The page shows this method now.
            Kind::Totp | Kind::Recovery => return Ok(Ok(())),
        };
        if channel == Some(Channel::Voice) && !self.config().otpost.calls {
            return Ok(Err(SendRefused::Method));
        }
        if let Err(refused) = challenge.may_send(channel, &self.config().limits, now) {
            return Ok(Err(refused));
        }
        if let Some(until) = self.count_against_send_limits(tx, locked, challenge, method, channel).await? {
            return Ok(Err(SendRefused::Limited { until }));
        }
        if channel == Some(Channel::Voice) && self.move_to_call(tx, challenge, method, now).await? {
            challenge.count_send(channel, &self.config().limits, now);
            return Ok(Ok(()));
        }
        let (code, digits) = self.live_code(tx, challenge, method, now).await?;
        if let Some(channel) = channel {
            self.dispatch(tx, locked, challenge, method, &code, &digits, channel).await?;
        } else {
            if code.undelivered {
                tx.update(&Code { undelivered: false, ..code.clone() }).await?;
            }
            let target = self.target(method)?;
            let name = &self.product(&locked.account.product)?.name;
            let minutes = between(now, code.expires_at).as_secs().div_ceil(60);
            let body = json!({"to": *target, "kind": "code", "code": digits.expose(), "minutes": minutes,
                              "product": name, "locale": challenge.locale, "why": mail_purpose(challenge, method)});
            self.enqueue(
                tx,
                outbox_header(OutboxKind::Mail, code.group_id, challenge),
                &body,
                code.expires_at,
                now,
            )
            .await?;
        }
        challenge.count_send(channel, &self.config().limits, now);
        Ok(Ok(()))
    }

    fn channel_of(&self, method: &Method, wanted: Option<Channel>) -> Channel {
        let own = wanted.or(method.channel).unwrap_or(Channel::Sms);
        if method.no_texts && self.config().otpost.calls { Channel::Voice } else { own }
    }

    async fn count_against_send_limits(
        &self, tx: &mut Tx, locked: &LockedRows, challenge: &Challenge, method: &Method,
        channel: Option<Channel>,
    ) -> Result<Option<Timestamp>, FlowError> {
        let config = self.config();
        let counts = limits_of_send(&config.limits, &locked.account, challenge, method, channel);
        count(tx, &self.keys, &counts, locked.now).await
    }

    /// Returns until when a limit prevents sends with the method of the page.
    pub async fn send_blocked_until(
        &self, snapshot: &ChallengeSnapshot,
    ) -> Result<Option<Timestamp>, FlowError> {
        match snapshot.method() {
            Some(method) => self.method_blocked_until(snapshot, method).await,
            None => Ok(None),
        }
    }

    /// The same for another method.
    pub async fn method_blocked_until(
        &self, snapshot: &ChallengeSnapshot, method: &Method,
    ) -> Result<Option<Timestamp>, FlowError> {
        if method.kind == Kind::App {
            return self.app_requests_blocked_until(snapshot).await;
        }
        let channel = match method.kind {
            Kind::Phone => Some(self.channel_of(method, snapshot.challenge.channel)),
            Kind::Email => None,
            _ => return Ok(None),
        };
        let config = self.config();
        let counts = limits_of_send(&config.limits, &snapshot.account, &snapshot.challenge, method, channel);
        let mut tx = self.store.begin().await?;
        limited_until(&mut tx, &self.keys, &counts, snapshot.now).await
    }

    /// Returns the code to send: the newest live one of this method, or a new one if little of its life is left.
    pub(super) async fn live_code(
        &self, tx: &mut Tx, challenge: &Challenge, method: &Method, now: Timestamp,
    ) -> Result<(Code, SecretText), FlowError> {
        let codes = tx
            .select::<Code>("where challenge = $1 order by created_at, id", &[Value::Uuid(challenge.id)])
            .await?;
        let live: Vec<&Code> = codes.iter().filter(|c| c.is_live(now)).collect();
        let newest = live.iter().rev().find(|c| c.method == method.id);
        if let Some(code) = newest.filter(|c| between(now, c.expires_at) >= RENEW_BELOW) {
            let digits = SecretText::from_kept(&self.keys.open_text(Sealed::Code, code.id, &code.sealed)?);
            return Ok(((*code).clone(), digits));
        }
        let surplus = (live.len() + 1).saturating_sub(MAX_LIVE);
        for code in live.iter().take(surplus) {
            tx.delete::<Code>(code.id).await?;
        }
        let digits = SecretText::random();
        let id = new_id();
        // One group per challenge and method, even after its codes expired and were deleted.
        let earlier = "where challenge = $1 and method = $2 order by issued_at desc, id desc limit 1";
        let earlier =
            tx.find::<Dispatch>(earlier, &[Value::Uuid(challenge.id), Value::Uuid(method.id)]).await?;
        let group_id = earlier.map_or_else(new_id, |d| d.group_id);
        let expires_at = after(now, self.config().code.life.0).min(challenge.expires_at);
        let code = Code {
            id,
            group_id,
            challenge: challenge.id,
            method: method.id,
            hash: self.code_hash(id, digits.expose()),
            sealed: self.keys.seal(Sealed::Code, id, digits.expose().as_bytes()),
            created_at: now,
            expires_at,
            undelivered: false,
        };
        tx.insert(&code).await?;
        Ok((code, digits))
    }

    pub(super) fn code_hash(&self, code: Uuid, digits: &str) -> String {
        self.keys.hash(Hashed::Code, &[code.as_bytes(), digits.as_bytes()])
    }

    /// Sends a text or a call through otpost.
    #[expect(clippy::too_many_arguments, reason = "each argument becomes a field of the job")]
    async fn dispatch(
        &self, tx: &mut Tx, locked: &LockedRows, challenge: &Challenge, method: &Method, code: &Code,
        digits: &SecretText, channel: Channel,
    ) -> Result<(), FlowError> {
        let now = locked.now;
        if seconds_until(now, code.expires_at) <= MIN_CODE_LIFE_S {
            return Ok(());
        }
        let call_planned = channel == Channel::Sms && method.fallback && self.config().otpost.calls;
        let channels: &[&str] = match (channel, call_planned) {
            (Channel::Voice, _) => &["voice"],
            (Channel::Sms, true) => &["sms", "voice"],
            (Channel::Sms, false) => &["sms"],
        };
        let dispatch = Dispatch {
            challenge: Some(challenge.id),
            call_planned,
            ..Dispatch::new(method.id, code.group_id, channel, now)
        };
        let target = self.target(method)?;
        let body = json!({
            "id": dispatch.id, "to": *target, "code": digits.expose(), "expires_at": code.expires_at, "channels": channels,
            "fallback_after_s": FALLBACK_BY_FAILURE_ONLY, "template": CODE_TEMPLATE, "locale": challenge.locale,
            "params": {"origin": self.config().public_url.host()}, "supersedes": code.group_id, "issued_at": now,
            "tags": {"challenge": challenge.id},
        });
        tx.insert(&dispatch).await?;
        let not_after =
            crate::clock::before(code.expires_at, std::time::Duration::from_secs(MIN_CODE_LIFE_S));
        self.enqueue(tx, outbox_header(OutboxKind::Dispatch, dispatch.id, challenge), &body, not_after, now)
            .await
    }

    /// Requests that otpost calls instead of sending the text of an open dispatch. Returns whether there was such a
    /// dispatch.
    async fn move_to_call(
        &self, tx: &mut Tx, challenge: &Challenge, method: &Method, now: Timestamp,
    ) -> Result<bool, FlowError> {
        let newest = tx
            .select_locked::<Dispatch>(
                "where challenge = $1 and method = $2 order by issued_at desc, id desc limit 1",
                &[Value::Uuid(challenge.id), Value::Uuid(method.id)],
            )
            .await?
            .pop();
        let Some(mut dispatch) =
            newest.filter(|d| d.call_planned && !d.state.is_final() && d.call_due_at.is_none())
        else {
            return Ok(false);
        };
        if dispatch.channel == Some(Channel::Voice) {
            return Ok(false);
        }
        dispatch.call_due_at = Some(after(now, CALL_ACCEPT_TIMEOUT));
        tx.update(&dispatch).await?;
        let body = json!({"id": dispatch.id, "step": 1});
        self.enqueue(
            tx,
            outbox_header(OutboxKind::Next, dispatch.id, challenge),
            &body,
            challenge.expires_at,
            now,
        )
        .await?;
        Ok(true)
    }

    /// Places the call of a dispatch again in a new dispatch: otpost could not continue with the call, or no carrier
    /// accepted it in time. The send was counted when the user requested the call.
    pub async fn place_call_again(&self, dispatch: Uuid) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        let Some(seen) = tx.get::<Dispatch>(dispatch).await? else { return Ok(()) };
        let Some(challenge) = seen.challenge else { return Ok(()) };
        let (locked, challenge) = lock_challenge(&mut tx, challenge).await?;
        let mut row = tx.lock::<Dispatch>(dispatch).await?.ok_or(FlowError::Missing("dispatch"))?;
        if row.call_due_at.take().is_none() {
            return Ok(());
        }
        tx.update(&row).await?;
        if let Some(method) = locked.method(row.method).filter(|_| challenge.state.is_live()) {
            let (code, digits) = self.live_code(&mut tx, &challenge, method, locked.now).await?;
            self.dispatch(&mut tx, &locked, &challenge, method, &code, &digits, Channel::Voice).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Returns the purpose of a mail with a code.
fn mail_purpose(challenge: &Challenge, method: &Method) -> &'static str {
    match challenge.purpose {
        Purpose::Enrol if method.verified_at.is_some() => "test",
        Purpose::Enrol => "add",
        _ => "sign_in",
    }
}

fn outbox_header(kind: OutboxKind, subject: Uuid, challenge: &Challenge) -> OutboxHeader {
    OutboxHeader { kind, subject, account: Some(challenge.account) }
}

/// Returns the limits of a send.
fn limits_of_send<'l>(
    limits: &'l Limits, account: &Account, challenge: &Challenge, method: &Method, channel: Option<Channel>,
) -> Vec<LimitFor<'l>> {
    let target = || method.target_hash.clone().unwrap_or_default();
    let mut counts = vec![
        LimitFor { name: "account_sends", subject: account.id.to_string(), rules: &limits.account_sends },
        LimitFor { name: "product_sends", subject: account.product.clone(), rules: &limits.product_sends },
    ];
    if let Some(client) = &challenge.client_hash {
        counts.push(LimitFor { name: "client_sends", subject: client.clone(), rules: &limits.client_sends });
    }
    if channel == Some(Channel::Voice) {
        counts.push(LimitFor { name: "number_calls", subject: target(), rules: &limits.number_calls });
    }
    counts.push(match channel {
        None => LimitFor { name: "mails", subject: target(), rules: &limits.mails },
        Some(_) => LimitFor { name: "number_sends", subject: target(), rules: &limits.number_sends },
    });
    counts
}

/// Returns whether a method may be used in a challenge. An enrolment accepts its own method only. E-mail is accepted if the
/// configuration says so.
pub(super) fn may_prove(method: &Method, challenge: &Challenge, email_second_step: bool) -> bool {
    match challenge.purpose {
        Purpose::Enrol => challenge.method == Some(method.id) && method.state != MethodState::Removed,
        Purpose::NewDevice => method.is_active(),
        Purpose::SignIn | Purpose::Confirm | Purpose::Settings => {
            method.is_active() && (method.kind != Kind::Email || email_second_step)
        }
    }
}
