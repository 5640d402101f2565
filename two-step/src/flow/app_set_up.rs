//! Sets up the product's app: the settings page shows a code, the user types it into the app, the app shows six digits, and
//! the user types them on the page.

use std::net::IpAddr;

use jiff::Timestamp;
use uuid::Uuid;

use super::author::{Author, Settings};
use super::counting::{LimitFor, count, limited_until};
use super::enrol::AddRefused;
use super::send::may_prove;
use super::verified_request::AppRefused;
use super::{Core, FlowError, lock_challenge};
use crate::app_key::{AppKey, MAX_APPS, SET_UP_LIFE, SET_UP_TRIES, SetUpCode};
use crate::challenge::Challenge;
use crate::clock::after;
use crate::code::SecretText;
use crate::config::Config;
use crate::flow::settings::MAX_LABEL_CHARS;
use crate::method::{Kind, Method, MethodState};
use crate::public_key::PublicKey;
use crate::seal::{Sealed, same};
use crate::signature::{Claim, Request};
use crate::store::{StoreError, Tx, Value, new_id};

/// An app that is being set up, as the settings page shows it.
#[derive(Debug, Clone)]
pub struct NewApp {
    /// The method.
    pub method: Uuid,
    /// The challenge that verifies the six digits.
    pub challenge: Uuid,
    /// The set-up code; `None` after an app used it.
    pub code: Option<SetUpCode>,
    /// When that code expires.
    pub until: Timestamp,
    /// The database's time.
    pub now: Timestamp,
}

/// The registration of an app.
#[derive(Debug, Clone)]
pub struct NewAppKey {
    /// The set-up code as it was typed.
    pub code: String,
    /// Its public key.
    pub public: PublicKey,
    /// The phone's name; may be empty.
    pub name: String,
    /// The client's address.
    pub client: Option<IpAddr>,
}

/// The answer to a registration.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The method.
    pub method: Uuid,
    /// The product.
    pub product: String,
    /// The user's name at the product, if the product sent one.
    pub display_name: Option<String>,
    /// The six digits for the settings page.
    pub digits: SecretText,
    /// When they expire.
    pub until: Timestamp,
}

/// Why an app was not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterRefused {
    /// The request is not signed by the key in it, or was replayed.
    Call(AppRefused),
    /// The set-up code is wrong, used or expired.
    Code,
    /// Not a P-256 key, or the key of another account's app.
    Key,
    /// Too many attempts from this address.
    Limited {
        /// When the next attempt is allowed.
        until: Timestamp,
        /// The database's time.
        now: Timestamp,
    },
}

/// The limit of wrong set-up codes of an address. It is separate from other entries, so that it does not block sign-ins.
fn wrong_set_ups(config: &Config, subject: String) -> LimitFor<'_> {
    LimitFor { name: "client_set_ups", subject, rules: &config.limits.client_entries }
}

impl Core {
    /// Starts to set up an app, or returns the pending set-up.
    pub async fn add_app(&self, by: impl Into<Author>) -> Result<Result<NewApp, AddRefused>, FlowError> {
        let mut tx = self.store.begin().await?;
        let settings = self.settings(&mut tx, &by.into()).await?;
        if self.product(&settings.account.product)?.app.is_none() {
            return Err(FlowError::Missing("app"));
        }
        let of_kind = || settings.methods.iter().filter(|m| m.kind == Kind::App);
        if of_kind().filter(|m| m.state != MethodState::Pending).count() >= MAX_APPS {
            return Ok(Err(AddRefused::TooMany));
        }
        let waiting = match self.pending_in_visit(&mut tx, &settings, Kind::App).await? {
            Some(method) => self.waiting(&mut tx, &method, settings.now).await?.map(|key| (method, key)),
            None => None,
        };
        let (method, key) = match waiting {
            Some(waiting) => waiting,
            None => self.new_app(&mut tx, &settings).await?,
        };
        let code = match &key.setup_sealed {
            Some(sealed) => {
                Some(SetUpCode::from_kept(&self.keys.open_text(Sealed::SetUpCode, method.id, sealed)?))
            }
            None => None,
        };
        let (now, until) = (settings.now, key.setup_until);
        let enrolled = self.enrol(tx, &settings, &method, None).await?;
        Ok(enrolled.map(|challenge| NewApp { method: method.id, challenge, code, until, now }))
    }

    /// Returns the set-up of a pending method while its code or its six digits are valid.
    async fn waiting(
        &self, tx: &mut Tx, method: &Method, now: Timestamp,
    ) -> Result<Option<AppKey>, FlowError> {
        let enrolment = newest_enrolment(tx, method.id).await?;
        // Five wrong digits end the enrolment.
        if !enrolment.is_some_and(|c| c.state.is_live() && now < c.expires_at) {
            return Ok(None);
        }
        let key = tx.get::<AppKey>(method.id).await?;
        Ok(key.filter(|key| now < key.setup_until && key.setup_tries < SET_UP_TRIES))
    }

    async fn new_app(&self, tx: &mut Tx, settings: &Settings) -> Result<(Method, AppKey), FlowError> {
        self.replace_pending(tx, settings, Kind::App).await?;
        let method = Method::new(new_id(), settings.account.id, Kind::App, settings.now);
        tx.insert(&method).await?;
        let code = self.unused_set_up_code(tx).await?;
        let sealed = self.keys.seal(Sealed::SetUpCode, method.id, code.expose().as_bytes());
        let key = AppKey {
            method: method.id,
            account: settings.account.id,
            setup_name: Some(code.name().to_owned()),
            setup_sealed: Some(sealed),
            setup_until: after(settings.now, SET_UP_LIFE),
            setup_tries: 0,
            thumbprint: None,
            public: None,
            display_name: settings.display_name.clone(),
            push_sealed: None,
            paused_until: None,
            seen_at: None,
        };
        tx.insert(&key).await?;
        Ok((method, key))
    }

    /// Returns a code whose leading characters are unique. A few attempts suffice for thousands of concurrent set-ups.
    /// Expired set-ups keep theirs until the sweep: updating rows of other accounts here could deadlock.
    async fn unused_set_up_code(&self, tx: &mut Tx) -> Result<SetUpCode, FlowError> {
        for _ in 0..16 {
            let code = SetUpCode::random();
            let taken = "where setup_name = $1";
            if tx.find::<AppKey>(taken, &[Value::Text(code.name().to_owned())]).await?.is_none() {
                return Ok(code);
            }
        }
        Err(FlowError::Internal("no unused set-up code was found"))
    }

    /// Registers an app: checks its set-up code and stores its key. The app may repeat the call after a lost answer.
    pub async fn register_app(
        &self, request: &Request<'_>, new: &NewAppKey,
    ) -> Result<Result<Registered, RegisterRefused>, FlowError> {
        let claim = match Claim::read(request) {
            Ok(claim) => claim,
            Err(bad) => return Ok(Err(RegisterRefused::Call(AppRefused::Signature(bad)))),
        };
        if !new.public.is_valid() {
            return Ok(Err(RegisterRefused::Key));
        }
        let mut tx = self.store.begin().await?;
        if let Err(bad) = claim.verify(&new.public) {
            return Ok(Err(RegisterRefused::Call(AppRefused::Signature(bad))));
        }
        if let Err(refused) = self.check_freshness(&mut tx, &claim).await? {
            return Ok(Err(RegisterRefused::Call(refused)));
        }
        if let Some(until) = self.wrong_set_ups_blocked_until(&mut tx, new).await? {
            let now = tx.now().await?;
            return Ok(Err(RegisterRefused::Limited { until, now }));
        }
        let registered = match self.store_app_key(&mut tx, &claim, new).await {
            // Nothing is written: an app of another account has this key, and the transaction has failed.
            Err(FlowError::Store(StoreError::Exists)) => return Ok(Err(RegisterRefused::Key)),
            registered => registered?,
        };
        if registered.is_none() {
            self.count_wrong_set_up(&mut tx, new).await?;
        }
        tx.commit().await?;
        Ok(registered.ok_or(RegisterRefused::Code))
    }

    /// Stores the app's key in its set-up, and returns the six digits. Returns `None` if the code is not valid.
    async fn store_app_key(
        &self, tx: &mut Tx, claim: &Claim, new: &NewAppKey,
    ) -> Result<Option<Registered>, FlowError> {
        let Some(seen) = self.set_up_of(tx, claim, new).await? else { return Ok(None) };
        let Some(enrolment) = newest_enrolment(tx, seen.method).await? else { return Ok(None) };
        let (locked, challenge) = lock_challenge(tx, enrolment.id).await?;
        let now = locked.now;
        let Some(mut key) = tx.lock::<AppKey>(seen.method).await? else { return Ok(None) };
        let product = locked.account.product.clone();
        let waits = now < key.setup_until && key.setup_tries < SET_UP_TRIES && challenge.state.is_live();
        let method = locked.method(key.method);
        let Some(method) = method.filter(|m| waits && may_prove(m, &challenge, true)) else {
            return Ok(None);
        };
        let again = key.thumbprint.as_deref() == Some(claim.key.as_str());
        if !again {
            let fits = match (&key.setup_sealed, SetUpCode::read(&new.code)) {
                (Some(sealed), Some(typed)) => {
                    same(&self.keys.open_text(Sealed::SetUpCode, key.method, sealed)?, typed.expose())
                }
                _ => false,
            };
            if !fits {
                key.setup_tries += 1;
                tx.update(&key).await?;
                return Ok(None);
            }
            key.set_public(&new.public);
            (key.setup_name, key.setup_sealed) = (None, None);
            // The six digits get a full set-up life from now, but end with the enrolment.
            key.setup_until = after(now, SET_UP_LIFE).min(challenge.expires_at);
            key.seen_at = Some(now);
            tx.update(&key).await?;
            let mut method = method.clone();
            method.label = label(&new.name, &locked.methods);
            tx.update(&method).await?;
        }
        let method = locked.method(key.method).cloned().ok_or(FlowError::Missing("method"))?;
        let (code, digits) = self.live_code(tx, &challenge, &method, now).await?;
        let (display_name, until) = (key.display_name.clone(), code.expires_at);
        Ok(Some(Registered { method: method.id, product, display_name, digits, until }))
    }

    /// Returns the set-up with the leading characters of the code, or else the one that already has this key.
    async fn set_up_of(
        &self, tx: &mut Tx, claim: &Claim, new: &NewAppKey,
    ) -> Result<Option<AppKey>, FlowError> {
        if let Some(code) = SetUpCode::read(&new.code) {
            let named = "where setup_name = $1";
            let waiting = tx.find::<AppKey>(named, &[Value::Text(code.name().to_owned())]).await?;
            if waiting.is_some() {
                return Ok(waiting);
            }
        }
        Ok(tx.find::<AppKey>("where thumbprint = $1", &[Value::Text(claim.key.clone())]).await?)
    }

    /// Counts a wrong set-up code of an address.
    async fn count_wrong_set_up(&self, tx: &mut Tx, new: &NewAppKey) -> Result<(), FlowError> {
        let config = self.config();
        let now = tx.now().await?;
        if let Some(client) = new.client {
            let limit = wrong_set_ups(&config, self.client_hash(client));
            count(tx, &self.keys, &[limit], now).await?;
        }
        Ok(())
    }

    /// Returns until when the limit of wrong set-up codes of an address is reached.
    async fn wrong_set_ups_blocked_until(
        &self, tx: &mut Tx, new: &NewAppKey,
    ) -> Result<Option<Timestamp>, FlowError> {
        let Some(client) = new.client else { return Ok(None) };
        let config = self.config();
        let limit = wrong_set_ups(&config, self.client_hash(client));
        let now = tx.now().await?;
        limited_until(tx, &self.keys, &[limit], now).await
    }
}

/// Returns the newest challenge that verifies a method in set-up.
async fn newest_enrolment(tx: &mut Tx, method: Uuid) -> Result<Option<Challenge>, FlowError> {
    let newest = "where method = $1 and purpose = 'enrol' order by created_at desc, id desc limit 1";
    Ok(tx.find::<Challenge>(newest, &[Value::Uuid(method)]).await?)
}

/// Returns the label of a new app: the phone's name, with a number if another app has that name.
fn label(name: &str, methods: &[Method]) -> Option<String> {
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(MAX_LABEL_CHARS - 2).collect();
    let is_taken = |label: &str| {
        methods.iter().any(|m| m.state != MethodState::Removed && m.label.as_deref() == Some(label))
    };
    let numbered = (2..=9).map(|n| format!("{name} {n}"));
    let mut labels = std::iter::once(name.clone()).chain(numbered);
    labels.find(|label| !is_taken(label)).filter(|_| !name.is_empty())
}
