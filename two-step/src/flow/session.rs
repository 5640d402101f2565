//! Sessions of the settings pages. A back end opens one, a browser claims it, and it needs a fresh proof while two-step
//! verification is on.

use std::net::IpAddr;

use jiff::Timestamp;
use uuid::Uuid;

use super::create::{check_display_name, check_locale, check_opaque};
use super::email::is_address;
use super::{Core, DeviceCookie, FlowError, Visit};
use crate::account::Account;
use crate::challenge::{Challenge, Purpose};
use crate::clock::{after, between};
use crate::device::{Trust, TrustKind};
use crate::method::{Method, first};
use crate::seal::{Hashed, random_token, same};
use crate::store::{Session, SessionPurpose, Tx, Value, new_id};

/// Maximum age of the password entry when a session is opened.
const MAX_PASSWORD_AGE: std::time::Duration = std::time::Duration::from_secs(600);
/// Allowed difference between the clocks of two machines.
const CLOCK_TOLERANCE: std::time::Duration = std::time::Duration::from_secs(60);
/// Life of a session.
const SESSION_LIFE: std::time::Duration = std::time::Duration::from_secs(3600);
/// How long a session waits for its browser.
const UNCLAIMED_LIFE: std::time::Duration = std::time::Duration::from_secs(600);

/// The parameters of a session.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// The product's id of the user.
    pub user: String,
    /// The purpose.
    pub purpose: SessionPurpose,
    /// When the user typed the password.
    pub password_at: Timestamp,
    /// The return URL.
    pub return_url: String,
    /// Returned unchanged in the URL.
    pub state: Option<String>,
    /// The user's name, for authenticator apps.
    pub display_name: Option<String>,
    /// Language of the pages.
    pub locale: Option<String>,
    /// The client's address.
    pub client_ip: Option<IpAddr>,
    /// The user's e-mail address, validated by the product. Used while two-step verification is off.
    pub email: Option<String>,
}

/// An opened session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The session's URL.
    pub url: String,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// The result of opening a session's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionClaimed {
    /// The session is claimed.
    Settings,
    /// The session has ended, or another browser claimed it.
    Over,
}

/// The visitor of a settings page.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// The session.
    pub session: Session,
    /// The account.
    pub account: Account,
    /// The methods that are not removed.
    pub methods: Vec<Method>,
    /// Whether a fresh proof is required first.
    pub needs_proof: bool,
    /// The database's time.
    pub now: Timestamp,
}

impl Core {
    /// Opens a session for a user of a product.
    pub async fn open_session(&self, product: &str, new: NewSession) -> Result<Opened, FlowError> {
        check_opaque("state", new.state.as_deref())?;
        check_display_name(new.display_name.as_deref())?;
        check_locale(new.locale.as_deref())?;
        if !new.email.as_deref().is_none_or(is_address) {
            return Err(FlowError::invalid("email", "must be an e-mail address"));
        }
        self.check_return_url(product, &new.return_url)?;
        let mut tx = self.store.begin().await?;
        let mut account = self.account(&mut tx, product, &new.user).await?;
        let now = tx.now().await?;
        let fresh = between(new.password_at, now) <= MAX_PASSWORD_AGE
            && between(now, new.password_at) <= CLOCK_TOLERANCE;
        if !fresh {
            return Err(FlowError::invalid(
                "password_at",
                "must be at most 10 minutes ago; request the password again",
            ));
        }
        if let Some(locale) = &new.locale {
            account.locale = Some(locale.clone());
            tx.update(&account).await?;
        }
        let handle = random_token();
        let session = Session {
            id: new_id(),
            account: account.id,
            purpose: new.purpose,
            handle_hash: self.keys.hash_text(Hashed::SessionHandle, &handle),
            browser_hash: None,
            return_url: new.return_url,
            return_state: new.state,
            display_name: new.display_name,
            locale: account.locale.clone(),
            client_hash: new.client_ip.map(|ip| self.client_hash(ip)),
            proof_at: None,
            account_version: account.version,
            created_at: now,
            expires_at: after(now, UNCLAIMED_LIFE),
        };
        tx.insert(&session).await?;
        if let Some(address) = new.email.as_deref().filter(|_| !account.is_on()) {
            self.keep_email(&mut tx, &account, session.id, address, now).await?;
        }
        tx.commit().await?;
        let url = format!("{}/s/{handle}", self.config().public_url.as_str());
        Ok(Opened { url, expires_at: session.expires_at })
    }

    /// Claims a session for a browser.
    pub async fn claim_session(&self, handle: &str, visit: &Visit) -> Result<SessionClaimed, FlowError> {
        let mut tx = self.store.begin().await?;
        let hash = self.keys.hash_text(Hashed::SessionHandle, handle);
        let seen = tx.find::<Session>("where handle_hash = $1", &[Value::Text(hash)]).await?;
        let seen = seen.ok_or(FlowError::Missing("session"))?;
        let account = tx.lock::<Account>(seen.account).await?;
        let mut session = tx.lock::<Session>(seen.id).await?.ok_or(FlowError::Missing("session"))?;
        let now = tx.now().await?;
        let browser = self.browser_hash(&visit.browser);
        if now >= session.expires_at {
            return Ok(SessionClaimed::Over);
        }
        match &session.browser_hash {
            Some(owner) if same(owner, &browser) => {}
            Some(_) => return Ok(SessionClaimed::Over),
            None => {
                session.browser_hash = Some(browser);
                session.locale = session.locale.take().or_else(|| visit.locale.clone());
                session.expires_at = after(session.created_at, SESSION_LIFE);
                if let Some(client) = visit.client {
                    session.client_hash = Some(self.client_hash(client));
                }
                tx.update(&session).await?;
                // Notices use the browser's language if the product named none.
                if let Some(mut account) = account.filter(|a| a.locale.is_none()) {
                    account.locale.clone_from(&session.locale);
                    tx.update(&account).await?;
                }
            }
        }
        tx.commit().await?;
        Ok(SessionClaimed::Settings)
    }

    /// Returns the visitor of a settings page: the browser's newest live session.
    pub async fn visitor(&self, visit: &Visit) -> Result<Visitor, FlowError> {
        let mut tx = self.store.begin().await?;
        let visitor = self.visitor_in(&mut tx, visit).await?;
        tx.commit().await?;
        Ok(visitor)
    }

    /// The same with the account, its methods and the session locked.
    pub(super) async fn visitor_in(&self, tx: &mut Tx, visit: &Visit) -> Result<Visitor, FlowError> {
        let missing = || FlowError::Missing("session");
        let browser = Value::Text(self.browser_hash(&visit.browser));
        let newest = "where browser_hash = $1 order by created_at desc, id desc limit 1";
        let seen = tx.find::<Session>(newest, &[browser]).await?.ok_or_else(missing)?;
        let account = tx.lock::<Account>(seen.account).await?.ok_or_else(missing)?;
        let mut session = tx.lock::<Session>(seen.id).await?.ok_or_else(missing)?;
        let methods = tx
            .select_locked::<Method>(
                "where account = $1 and state <> 'removed' order by id",
                &[Value::Uuid(account.id)],
            )
            .await?;
        let now = tx.now().await?;
        if now >= session.expires_at {
            return Err(missing());
        }
        if session.account_version != account.version {
            // Two-step verification was switched since, so the proof is void.
            session.proof_at = None;
        }
        let fresh = session.proof_at.is_some_and(|at| between(at, now) < self.config().proof.fresh.0);
        let needs_proof = account.is_on() && !fresh;
        Ok(Visitor { session, account, methods, needs_proof, now })
    }

    /// Returns the open challenge for a fresh proof, or creates one.
    pub async fn open_proof_challenge(&self, visit: &Visit) -> Result<Uuid, FlowError> {
        let mut tx = self.store.begin().await?;
        let visitor = self.visitor_in(&mut tx, visit).await?;
        let open = tx
            .find::<Challenge>(
                "where session = $1 and purpose = 'settings' and state = 'open' and expires_at > $2",
                &[Value::Uuid(visitor.session.id), Value::Int(visitor.now.as_millisecond())],
            )
            .await?;
        if let Some(challenge) = open {
            return Ok(challenge.id);
        }
        let mut challenge =
            self.challenge_of(visitor.account.id, Some(&visitor.session), Purpose::Settings, visitor.now);
        challenge.return_url = Some(format!("{}/settings", self.config().public_url.as_str()));
        challenge.agent = Some(visit.agent.clone()).filter(|agent| !agent.is_empty());
        let locked = super::LockedRows {
            account: visitor.account.clone(),
            methods: visitor.methods.clone(),
            now: visitor.now,
        };
        tx.insert(&challenge).await?;
        let start = first(&visitor.methods, self.config().email.second_step);
        challenge.method = start.map(|m| m.id);
        if let Some(method) = start.filter(|_| visitor.account.pause(visitor.now).is_none()) {
            let _ = self.send_in(&mut tx, &locked, &mut challenge, Some(method.id), None).await?;
        }
        tx.update(&challenge).await?;
        tx.commit().await?;
        Ok(challenge.id)
    }

    /// Creates a challenge that is open at once: in the browser of a session, or without pages.
    pub(super) fn challenge_of(
        &self, account: Uuid, session: Option<&Session>, purpose: Purpose, now: Timestamp,
    ) -> Challenge {
        let life = self.config().challenge.life.0;
        let mut challenge = Challenge::new(new_id(), account, purpose, life, now);
        // The handle is never sent. The requester already has the challenge.
        challenge.handle_hash = self.keys.hash_text(Hashed::ChallengeHandle, &random_token());
        if let Some(session) = session {
            challenge.session = Some(session.id);
            challenge.browser_hash.clone_from(&session.browser_hash);
            challenge.client_hash.clone_from(&session.client_hash);
            challenge.locale.clone_from(&session.locale);
        }
        challenge.open(life);
        challenge
    }

    /// Returns the redirect URL when the visitor leaves. It names the browser's device if the account trusts it. The
    /// product ends that trust at sign-out.
    pub async fn leave_location(&self, visit: &Visit) -> Result<String, FlowError> {
        let mut tx = self.store.begin().await?;
        let Visitor { session, account, now, .. } = self.visitor_in(&mut tx, visit).await?;
        let cookie = visit.device.as_deref().and_then(|text| DeviceCookie::read(&self.keys, text));
        let trust = match &cookie {
            Some(device) => {
                let of_both = "where account = $1 and device = $2 and kind = 'trusted'";
                tx.find::<Trust>(of_both, &[Value::Uuid(account.id), Value::Uuid(device.id)]).await?
            }
            None => None,
        };
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(state) = &session.return_state {
            query.append_pair("state", state);
        }
        if let Some(trust) = trust.filter(|t| t.holds(TrustKind::Trusted, now)) {
            query.append_pair("device", &trust.device.to_string());
        }
        let query = query.finish();
        Ok(if query.is_empty() { session.return_url } else { format!("{}?{query}", session.return_url) })
    }
}
