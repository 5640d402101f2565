//! Writes events and sends notices to an account's other methods.

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::{Core, FlowError, LockedRows};
use crate::account::Account;
use crate::clock::after;
use crate::method::{Channel, Kind, Method, WRONG_CODES};
use crate::otpost_client::NOTICE_TEMPLATE;
use crate::seal::{Hashed, Sealed, random_token};
use crate::store::{Dispatch, Event, NoticeToken, OutboxKind, OutboxRow, Tx, id_time, new_id, new_id_at};

/// Life of a notice's stop page.
const STOP_LIFE: std::time::Duration = std::time::Duration::from_secs(7 * 86400);
/// Maximum life of a notice's job. otpost accepts no longer one.
const NOTICE_LIFE: std::time::Duration = std::time::Duration::from_secs(3600);
/// How long sending a mail is retried.
const MAIL_LIFE: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// The content of a notice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notice<'a> {
    /// The kind of notice.
    pub(super) about: &'a str,
    /// The method that gets no notice.
    pub(super) except: Option<Uuid>,
    /// The added method, which the stop page pauses.
    pub(super) added: Option<Uuid>,
}

impl<'a> From<&'a str> for Notice<'a> {
    fn from(about: &'a str) -> Self {
        Self { about, except: None, added: None }
    }
}

/// The kind, subject and owner of an outbox row.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutboxHeader {
    pub(super) kind: OutboxKind,
    /// Rows of one subject are published in order.
    pub(super) subject: Uuid,
    /// The account. Erasing it deletes the row.
    pub(super) account: Option<Uuid>,
}

impl Core {
    /// Writes an event. `data` contains no code, number or address.
    pub(super) async fn event(
        &self, tx: &mut Tx, account: &Account, kind: &str, actor: &str, data: Json, now: Timestamp,
    ) -> Result<(), FlowError> {
        let event = Event {
            id: new_id_at(now),
            product: account.product.clone(),
            account: account.id,
            user_ref: account.user_ref.clone(),
            kind: kind.to_owned(),
            at: now,
            actor: actor.to_owned(),
            data: data.to_string(),
        };
        tx.insert(&event).await?;
        if self.product(&account.product).is_ok_and(|p| p.webhook.is_some()) {
            let body = json!({"product": account.product, "id": event.id, "type": kind, "user": account.user_ref,
                              "at": now, "actor": actor, "data": serde_json::from_str::<Json>(&event.data).unwrap_or_default()});
            // Webhooks of one user are sent in order.
            self.enqueue(
                tx,
                OutboxHeader { kind: OutboxKind::Webhook, subject: account.id, account: Some(account.id) },
                &body,
                after(now, MAIL_LIFE),
                now,
            )
            .await?;
        }
        Ok(())
    }

    /// Sends a notice to all methods except one. Each notice links to a stop page.
    pub(super) async fn notify(
        &self, tx: &mut Tx, account: &Account, methods: &[Method], notice: impl Into<Notice<'_>>,
        now: Timestamp,
    ) -> Result<(), FlowError> {
        let Notice { about, except, added } = notice.into();
        let reachable = methods.iter().filter(|m| {
            let takes_notices = m.is_active() || m.is_paused_for(WRONG_CODES);
            Some(m.id) != except
                && takes_notices
                && m.target_sealed.is_some()
                && m.verified_at.is_some()
                && matches!(m.kind, Kind::Phone | Kind::Email)
        });
        // A product that was removed from the configuration has no name for messages. Running work must still finish.
        let Ok(name) = self.product(&account.product).map(|p| p.name) else { return Ok(()) };
        for method in reachable {
            let token = random_token();
            tx.insert(&NoticeToken {
                token_hash: self.keys.hash_text(Hashed::Notice, &token),
                account: account.id,
                about: about.to_owned(),
                method: added,
                until: after(now, STOP_LIFE),
            })
            .await?;
            let target = match self.target(method) {
                Ok(target) => target,
                Err(e) => {
                    // The event itself must still be written.
                    tracing::error!(method = %method.id, reason = %e, "cannot send a notice");
                    continue;
                }
            };
            if method.kind == Kind::Email {
                let link = format!("{}/stop/{token}", self.config().public_url.as_str());
                let body = json!({"to": *target, "kind": "notice", "about": about, "link": link, "product": name,
                                  "locale": account.locale});
                self.enqueue(
                    tx,
                    OutboxHeader { kind: OutboxKind::Mail, subject: method.id, account: Some(account.id) },
                    &body,
                    after(now, MAIL_LIFE),
                    now,
                )
                .await?;
                continue;
            }
            let channel = if method.no_texts { Channel::Voice } else { Channel::Sms };
            let dispatch = Dispatch::new(method.id, new_id(), channel, now);
            let until = after(now, NOTICE_LIFE);
            let body = json!({
                "id": dispatch.id, "to": *target, "expires_at": until, "channels": [dispatch.first_channel.to_string()],
                "fallback_after_s": 0, "template": NOTICE_TEMPLATE, "locale": account.locale,
                "params": {"about": about, "origin": self.config().public_url.host(), "token": token},
            });
            tx.insert(&dispatch).await?;
            self.enqueue(
                tx,
                OutboxHeader { kind: OutboxKind::Dispatch, subject: dispatch.id, account: Some(account.id) },
                &body,
                until,
                now,
            )
            .await?;
        }
        Ok(())
    }

    /// Writes the event of a paused method, and sends a notice to the others.
    pub(super) async fn notify_pause(
        &self, tx: &mut Tx, locked: &LockedRows, method: Uuid, reason: &str,
    ) -> Result<(), FlowError> {
        let LockedRows { account, methods, now } = locked;
        let data = json!({"method": method, "reason": reason});
        self.event(tx, account, "method.paused", "system", data, *now).await?;
        let notice = Notice { about: "method_paused", except: Some(method), added: None };
        self.notify(tx, account, methods, notice, *now).await
    }

    /// Seals a message and writes it to the outbox.
    pub(super) async fn enqueue(
        &self, tx: &mut Tx, header: OutboxHeader, body: &Json, not_after: Timestamp, now: Timestamp,
    ) -> Result<(), FlowError> {
        let OutboxHeader { kind, subject, account } = header;
        let id = new_id_at(now);
        let body_sealed = self.keys.seal(Sealed::Outbox, id, body.to_string().as_bytes());
        tx.insert(&OutboxRow { id, kind, subject, account, body_sealed, not_after, tries: 0, next_at: now })
            .await?;
        tx.wake_after_commit(&self.outbox_filled);
        Ok(())
    }

    /// Returns the number or address of a method.
    pub(crate) fn target(&self, method: &Method) -> Result<zeroize::Zeroizing<String>, FlowError> {
        let sealed = method.target_sealed.as_deref().ok_or(FlowError::Missing("method"))?;
        Ok(self.keys.open_text(Sealed::MethodTarget, method.id, sealed)?)
    }

    /// Returns the number of outbox rows, and the age of the oldest in seconds.
    pub async fn outbox_waiting(&self) -> Result<(i64, i64), FlowError> {
        let mut tx = self.store.begin().await?;
        let waiting = tx.query("select count(*) from outbox", &[]).await?.first().map_or(0, |row| row.int(0));
        let oldest = tx.find::<OutboxRow>("order by id limit 1", &[]).await?;
        let made_at = oldest.map(|row| id_time(row.id).as_second());
        let now = tx.now().await?.as_second();
        Ok((waiting, made_at.map_or(0, |at| (now - at).max(0))))
    }
}
