//! Adds methods for a user. A method is pending until its first code is verified.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::author::{Author, Settings};
use super::counting::{LimitFor, count};
use super::create::MAX_NAME_CHARS;
use super::events::Notice;
use super::users::find;
use super::{Core, FlowError, LockedRows, Visit};
use crate::challenge::{Challenge, Purpose, SendRefused};
use crate::method::{Channel, Kind, MAX_AUTHENTICATORS, Method, MethodState};
use crate::number::{BadNumber, Number};
use crate::seal::{Hashed, Sealed};
use crate::store::{Tx, Value, new_id};
use crate::totp;

/// Why a method was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddRefused {
    /// The number cannot receive codes.
    Number(BadNumber),
    /// The account already has it.
    Known,
    /// Too many accounts have this number.
    Shared,
    /// The account has the maximum number of authenticators.
    TooMany,
    /// A limit is reached, or the first code cannot be sent.
    Send {
        /// The reason.
        refused: SendRefused,
        /// The end of the enrolment, if there is one.
        expires_at: Timestamp,
        /// The database's time.
        now: Timestamp,
    },
    /// Not an e-mail address.
    Address,
}

/// An authenticator in set-up.
#[derive(Debug)]
pub struct NewAuthenticator {
    /// The method.
    pub method: Uuid,
    /// The challenge that verifies its first code.
    pub challenge: Uuid,
    /// The key in base32.
    pub key: Zeroizing<String>,
    /// The URI of the QR code.
    pub uri: Zeroizing<String>,
}

impl Core {
    /// Adds a phone, and sends its first code. Returns the challenge that verifies the code.
    pub async fn add_phone(
        &self, by: impl Into<Author>, typed: &str, country: &str, channel: Channel,
    ) -> Result<Result<Uuid, AddRefused>, FlowError> {
        let mut tx = self.store.begin().await?;
        let settings = self.settings(&mut tx, &by.into()).await?;
        let countries = self.product(&settings.account.product)?.countries.clone();
        let number = match Number::read(typed, country, &countries) {
            Ok(number) => number,
            Err(bad) => return Ok(Err(AddRefused::Number(bad))),
        };
        let hash = self.keys.hash_text(Hashed::Target, number.expose());
        if settings.methods.iter().any(|m| m.is_kept() && m.target_hash.as_ref() == Some(&hash)) {
            return Ok(Err(AddRefused::Known));
        }
        if self.has_too_many_accounts(&mut tx, &hash, settings.account.id).await? {
            return Ok(Err(AddRefused::Shared));
        }
        let mut method = if let Some(pending) = settings
            .methods
            .iter()
            .find(|m| m.state == MethodState::Pending && m.target_hash.as_ref() == Some(&hash))
        {
            pending.clone()
        } else {
            if let Some(until) = self.count_new_number(&mut tx, &settings, &number).await? {
                let now = settings.now;
                return Ok(Err(AddRefused::Send {
                    refused: SendRefused::Limited { until },
                    expires_at: now,
                    now,
                }));
            }
            self.replace_pending(&mut tx, &settings, Kind::Phone).await?;
            let mut method = Method::new(new_id(), settings.account.id, Kind::Phone, settings.now);
            method.target_sealed =
                Some(self.keys.seal(Sealed::MethodTarget, method.id, number.expose().as_bytes()));
            method.target_hash = Some(hash);
            method.hint = number.hint();
            tx.insert(&method).await?;
            method
        };
        method.channel = Some(channel);
        tx.update(&method).await?;
        self.enrol(tx, &settings, &method, Some(channel)).await
    }

    /// Returns whether the maximum number of other accounts already has a number.
    pub(super) async fn has_too_many_accounts(
        &self, tx: &mut Tx, target_hash: &str, account: Uuid,
    ) -> Result<bool, FlowError> {
        let sql = "select count(distinct account) from method where target_hash = $1 and state = 'active' and account <> $2";
        let others = tx.query(sql, &[Value::Text(target_hash.to_owned()), Value::Uuid(account)]).await?;
        let most = i64::from(self.config().limits.accounts_per_number);
        Ok(others.first().map_or(0, |r| r.int(0)) >= most)
    }

    /// Starts an enrolment: a challenge that accepts only codes of this method.
    pub(super) async fn enrol(
        &self, tx: Tx, settings: &Settings, method: &Method, channel: Option<Channel>,
    ) -> Result<Result<Uuid, AddRefused>, FlowError> {
        let (challenge, sent) = self.send_first(tx, settings, method, channel).await?;
        Ok(match sent {
            // A code was sent moments ago. Its page shows when the next send is possible.
            Err(SendRefused::Limited { .. }) if challenge.sends > 0 => Ok(challenge.id),
            Err(refused) => {
                Err(AddRefused::Send { refused, expires_at: challenge.expires_at, now: settings.now })
            }
            Ok(()) => Ok(challenge.id),
        })
    }

    /// Sends the first code of an enrolment.
    async fn send_first(
        &self, mut tx: Tx, settings: &Settings, method: &Method, channel: Option<Channel>,
    ) -> Result<(Challenge, Result<(), SendRefused>), FlowError> {
        let open = tx
            .select::<Challenge>(
                "where method = $1 and purpose = 'enrol' and state = 'open' and expires_at > $2",
                &[Value::Uuid(method.id), Value::Int(settings.now.as_millisecond())],
            )
            .await?;
        let open = open.into_iter().find(|c| c.session == settings.visit());
        let is_new = open.is_none();
        let begin = || {
            self.challenge_of(settings.account.id, settings.session.as_ref(), Purpose::Enrol, settings.now)
        };
        let mut challenge = open.unwrap_or_else(begin);
        challenge.method = Some(method.id);
        if is_new {
            tx.insert(&challenge).await?;
        }
        let locked = LockedRows {
            account: settings.account.clone(),
            methods: vec![method.clone()],
            now: settings.now,
        };
        let sent = self.send_in(&mut tx, &locked, &mut challenge, Some(method.id), channel).await?;
        tx.update(&challenge).await?;
        tx.commit().await?;
        Ok((challenge, sent))
    }

    /// Sends a test code to a phone or mailbox. It does not have to be entered.
    pub async fn send_test(&self, visit: &Visit, method: Uuid) -> Result<Result<(), SendRefused>, FlowError> {
        let mut tx = self.store.begin().await?;
        let settings = self.settings(&mut tx, &visit.into()).await?;
        let takes_codes = |m: &&Method| m.is_active() && matches!(m.kind, Kind::Phone | Kind::Email);
        let method = settings.methods.iter().find(|m| m.id == method).filter(takes_codes);
        let method = method.ok_or(FlowError::Missing("method"))?.clone();
        Ok(self.send_first(tx, &settings, &method, method.channel).await?.1)
    }

    /// Sends a code for a pending method, or for a phone that was kept while two-step verification was off.
    pub async fn resend_first_code(
        &self, by: impl Into<Author>, method: Uuid, channel: Option<Channel>,
    ) -> Result<Result<Uuid, AddRefused>, FlowError> {
        let mut tx = self.store.begin().await?;
        let settings = self.settings(&mut tx, &by.into()).await?;
        let method =
            settings.methods.iter().find(|m| m.id == method).ok_or(FlowError::Missing("method"))?.clone();
        if method.state == MethodState::Active && settings.account.is_on() {
            return Err(FlowError::Missing("method"));
        }
        // A pending method of another visit stays hidden.
        let elsewhere = match settings.visit().filter(|_| method.state == MethodState::Pending) {
            Some(visit) => self.enrolment_in(&mut tx, visit, method.id).await?.is_none(),
            None => false,
        };
        if elsewhere {
            return Err(FlowError::Missing("method"));
        }
        self.enrol(tx, &settings, &method, channel.or(method.channel)).await
    }

    /// Returns the enrolment of a method in the visitor's session.
    pub async fn enrolment(&self, visit: &Visit, method: Uuid) -> Result<Uuid, FlowError> {
        let mut tx = self.store.begin().await?;
        let visitor = self.visitor_in(&mut tx, visit).await?;
        let found = self.enrolment_in(&mut tx, visitor.session.id, method).await?;
        found.ok_or(FlowError::Missing("method"))
    }

    /// Returns the enrolment of a method over the API.
    pub async fn enrolment_of(&self, product: &str, user: &str, method: Uuid) -> Result<Uuid, FlowError> {
        let mut tx = self.store.begin().await?;
        let account = find(&mut tx, product, user).await?;
        let newest = "where account = $1 and method = $2 and purpose = 'enrol' and session is null order by created_at desc, id desc limit 1";
        let found = tx.find::<Challenge>(newest, &[Value::Uuid(account.id), Value::Uuid(method)]).await?;
        found.map(|c| c.id).ok_or(FlowError::Missing("method"))
    }

    async fn count_new_number(
        &self, tx: &mut Tx, settings: &Settings, number: &Number,
    ) -> Result<Option<jiff::Timestamp>, FlowError> {
        let limits = &self.config().limits;
        let mut counts = vec![
            LimitFor {
                name: "account_new_numbers",
                subject: settings.account.id.to_string(),
                rules: &limits.account_new_numbers,
            },
            LimitFor {
                name: "prefix_new_numbers",
                subject: number.prefix().to_owned(),
                rules: &limits.prefix_new_numbers,
            },
        ];
        if let Some(client) = settings.session.as_ref().and_then(|s| s.client_hash.as_ref()) {
            counts.push(LimitFor {
                name: "client_new_numbers",
                subject: client.clone(),
                rules: &limits.client_new_numbers,
            });
        }
        count(tx, &self.keys, &counts, settings.now).await
    }

    /// Returns the pending method of a kind in this visit. Methods of other visits stay hidden: an attacker with the
    /// password could let the user activate a key that the attacker knows. A back end gets a key once.
    pub(super) async fn pending_in_visit(
        &self, tx: &mut Tx, settings: &Settings, kind: Kind,
    ) -> Result<Option<Method>, FlowError> {
        let Some(visit) = settings.visit() else { return Ok(None) };
        for method in settings.methods.iter().filter(|m| m.kind == kind && m.state == MethodState::Pending) {
            if self.enrolment_in(tx, visit, method.id).await?.is_some() {
                return Ok(Some(method.clone()));
            }
        }
        Ok(None)
    }

    async fn enrolment_in(&self, tx: &mut Tx, visit: Uuid, method: Uuid) -> Result<Option<Uuid>, FlowError> {
        let newest = "where session = $1 and method = $2 and purpose = 'enrol' order by created_at desc, id desc limit 1";
        let found = tx.find::<Challenge>(newest, &[Value::Uuid(visit), Value::Uuid(method)]).await?;
        Ok(found.map(|c| c.id))
    }

    /// Deletes an unfinished method that a new attempt replaces.
    pub(super) async fn replace_pending(
        &self, tx: &mut Tx, settings: &Settings, kind: Kind,
    ) -> Result<(), FlowError> {
        for method in settings.methods.iter().filter(|m| m.kind == kind && m.state == MethodState::Pending) {
            self.delete_pending(tx, method).await?;
        }
        Ok(())
    }

    /// Adds an authenticator, or returns the pending one.
    pub async fn add_authenticator(
        &self, by: impl Into<Author>,
    ) -> Result<Result<NewAuthenticator, AddRefused>, FlowError> {
        let mut tx = self.store.begin().await?;
        let settings = self.settings(&mut tx, &by.into()).await?;
        let of_kind = || settings.methods.iter().filter(|m| m.kind == Kind::Totp);
        if of_kind().filter(|m| m.state != MethodState::Pending).count() >= MAX_AUTHENTICATORS {
            return Ok(Err(AddRefused::TooMany));
        }
        let (method, key) =
            if let Some(pending) = self.pending_in_visit(&mut tx, &settings, Kind::Totp).await? {
                let sealed = pending.secret_sealed.as_deref().ok_or(FlowError::Missing("method"))?;
                (pending.clone(), self.keys.open(Sealed::MethodSecret, pending.id, sealed)?)
            } else {
                self.replace_pending(&mut tx, &settings, Kind::Totp).await?;
                let key = totp::random_key();
                let mut method = Method::new(new_id(), settings.account.id, Kind::Totp, settings.now);
                method.secret_sealed = Some(self.keys.seal(Sealed::MethodSecret, method.id, &*key));
                tx.insert(&method).await?;
                (method, Zeroizing::new(key.to_vec()))
            };
        let issuer = &self.product(&settings.account.product)?.name;
        let name = settings.display_name.as_deref().unwrap_or(&settings.account.user_ref);
        let name: String = name.chars().take(MAX_NAME_CHARS).collect();
        let (text, uri) = (totp::base32(&key), totp::uri(&key, issuer, &name));
        let challenge = self.enrol(tx, &settings, &method, None).await?;
        Ok(challenge.map(|challenge| NewAuthenticator { method: method.id, challenge, key: text, uri }))
    }

    /// Activates a method, writes the event, and sends a notice to the other methods while two-step verification is on.
    pub(super) async fn enrolled(
        &self, tx: &mut Tx, locked: &LockedRows, method: Uuid, actor: &str,
    ) -> Result<(), FlowError> {
        let kind = locked.method(method).map_or("", |m| m.kind.into());
        let data = json!({"method": method, "kind": kind});
        self.event(tx, &locked.account, "method.added", actor, data, locked.now).await?;
        if locked.account.is_on() {
            self.notify(
                tx,
                &locked.account,
                &locked.methods,
                Notice { about: "method_added", except: Some(method), added: Some(method) },
                locked.now,
            )
            .await?;
        }
        Ok(())
    }
}
