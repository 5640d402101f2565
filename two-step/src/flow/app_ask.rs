//! "Is this you?": a challenge asks an app, and the app approves, denies, or shows the code.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::app_call::AppCall;
use super::counting::{Count, count, full};
use super::enter::{Entered, Entry, Match, Who, ended};
use super::events::Order;
use super::send::may_prove;
use super::{Core, DeviceCookie, FlowError, Locked, Look, lock_account, lock_challenge};
use crate::app_key::AppKey;
use crate::app_request::{AppRequest, RequestState, digits_of, read_digits};
use crate::challenge::{Challenge, ChallengeState, EntryRefused, Proof, Purpose, SendRefused, TICKET_LIFE};
use crate::clock::after;
use crate::code::Digits;
use crate::device::{Device, TrustKind};
use crate::limit::Rule;
use crate::method::{DENIED, Method};
use crate::seal::{Hashed, Sealed};
use crate::store::{OutboxKind, Tx, Value, new_id_at};

/// A push is worth nothing afterwards: the page has offered other ways.
const PUSH_LIFE: std::time::Duration = std::time::Duration::from_secs(60);
/// The second denial within this time pauses the app for as long.
const DENIAL_WINDOW_S: u64 = 3600;

/// A request as the app shows it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The request.
    pub request: AppRequest,
    /// What it proves.
    pub challenge: Challenge,
    /// The product.
    pub product: String,
    /// Whether the browser is on another network than the app.
    pub other_network: bool,
}

/// What an app's answer led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// The browser may go on.
    Approved,
    /// The user said "It was not me": the challenge has ended.
    Denied {
        /// Until when the app is asked nothing more, if this was the second time.
        paused_until: Option<Timestamp>,
    },
    /// These are not the digits of the page.
    Wrong {
        /// Tries that are left.
        left: u32,
    },
    /// No digits, or not as many as the page shows. Not counted.
    Unreadable,
    /// Not looked at: the account is paused.
    Paused {
        /// Until then.
        until: Timestamp,
        /// The database's time.
        now: Timestamp,
    },
    /// Too late.
    Ended(ChallengeState),
}

impl Core {
    /// Asks an app, within a transaction that has the locks. One request of an account is open at a time; asking again for
    /// the same challenge changes nothing.
    pub(super) async fn ask_app(
        &self, tx: &mut Tx, locked: &Locked, challenge: &Challenge, method: &Method,
    ) -> Result<Result<(), SendRefused>, FlowError> {
        if challenge.purpose == Purpose::Enrol {
            return Ok(Ok(()));
        }
        let now = locked.now;
        match challenge.may_enter(&locked.account, now) {
            Err(EntryRefused::Ended(state)) => return Ok(Err(SendRefused::Ended(state))),
            Err(EntryRefused::Paused { until }) => return Ok(Err(SendRefused::Limited { until })),
            Ok(()) => {}
        }
        let open = "where account = $1 and state = 'open' order by id";
        let mut open = tx.select_locked::<AppRequest>(open, &[Value::Uuid(locked.account.id)]).await?;
        if open.iter().any(|r| r.challenge == challenge.id && r.method == method.id) {
            return Ok(Ok(()));
        }
        let config = self.config();
        let subject = locked.account.id.to_string();
        let limit = Count { name: "app_requests", subject, rules: &config.limits.app_requests };
        if let Some(until) = count(tx, &self.keys, &[limit], now).await? {
            return Ok(Err(SendRefused::Limited { until }));
        }
        for older in &mut open {
            older.state = RequestState::Replaced;
            tx.update(older).await?;
        }
        let request = AppRequest::new(new_id_at(now), challenge.id, locked.account.id, method.id, now);
        tx.insert(&request).await?;
        let key = tx.get::<AppKey>(method.id).await?.ok_or(FlowError::Missing("method"))?;
        if let Some(sealed) = &key.push_sealed {
            let endpoint = self.keys.open_text(Sealed::Push, method.id, sealed)?;
            let body = json!({"endpoint": *endpoint, "method": method.id});
            let order = Order { kind: OutboxKind::Push, subject: request.id, account: Some(request.account) };
            self.enqueue(tx, order, &body, after(now, PUSH_LIFE), now).await?;
        }
        tx.wake_after_commit(&self.app_asked);
        Ok(Ok(()))
    }

    /// Until when no more requests go to the apps of an account.
    pub(super) async fn app_full_until(&self, look: &Look) -> Result<Option<Timestamp>, FlowError> {
        let config = self.config();
        let subject = look.account.id.to_string();
        let limit = Count { name: "app_requests", subject, rules: &config.limits.app_requests };
        let mut tx = self.store.begin().await?;
        full(&mut tx, &self.keys, &[limit], look.now).await
    }

    /// The digits that the page of a request shows.
    pub fn app_digits(&self, request: Uuid) -> String {
        let mac = self.keys.hash_bytes(Hashed::AppDigits, &[request.as_bytes()]);
        digits_of(&mac, self.config().app.number_digits)
    }

    /// What an app is asked now, and the database's time.
    pub async fn app_requests(&self, call: &AppCall) -> Result<(Vec<Asked>, Timestamp), FlowError> {
        let mut tx = self.store.begin().await?;
        let now = tx.now().await?;
        let open = "where method = $1 and state = 'open' order by id";
        let mut asked = vec![];
        for request in tx.select::<AppRequest>(open, &[Value::Uuid(call.key.method)]).await? {
            let challenge = tx.get::<Challenge>(request.challenge).await?;
            let Some(challenge) = challenge.filter(|c| c.state.is_live() && now < c.expires_at) else {
                continue;
            };
            let account = tx.get::<crate::account::Account>(request.account).await?;
            let product = account.ok_or(FlowError::Missing("account"))?.product;
            let other_network = is_other_network(call, &challenge);
            asked.push(Asked { request, challenge, product, other_network });
        }
        Ok((asked, now))
    }

    /// The digits that the page shows were typed into the app.
    pub async fn approve(&self, call: &AppCall, request: Uuid, typed: &str) -> Result<Answered, FlowError> {
        let Some((mut tx, mut locked, mut challenge, mut request)) = self.lock_request(call, request).await?
        else {
            return Err(FlowError::Missing("request"));
        };
        // The answer before may have been lost.
        if request.state == RequestState::Approved {
            tx.commit().await?;
            return Ok(Answered::Approved);
        }
        if let Some(over) = self.is_over(&locked, &challenge, &request, call) {
            tx.commit().await?;
            return Ok(over);
        }
        let Some(digits) = read_digits(typed, self.config().app.number_digits) else {
            return Ok(Answered::Unreadable);
        };
        self.count_entry(&mut tx, &challenge, locked.now).await?;
        if !crate::seal::same(&digits, &self.app_digits(request.id)) {
            let left = self.wrong(&mut tx, &mut locked, &mut challenge, &[request.method]).await?;
            tx.update(&locked.account).await?;
            tx.update(&challenge).await?;
            tx.commit().await?;
            return Ok(left.map_or(Answered::Ended(challenge.state), |left| Answered::Wrong { left }));
        }
        request.state = RequestState::Approved;
        request.other_network = is_other_network(call, &challenge);
        tx.update(&request).await?;
        let found = Match { other_network: request.other_network, ..Match::of(request.method, Proof::App) };
        let entered = self
            .right(&mut tx, &mut locked, &mut challenge, &found, &Entry::default(), &Who::App, &[], None)
            .await?;
        debug_assert!(matches!(entered, Entered::Verified { .. }));
        // The user may have to find the way back to the browser: the ticket's minute begins there.
        challenge.ticket_until = Some(challenge.expires_at.max(after(locked.now, TICKET_LIFE)));
        tx.update(&locked.account).await?;
        tx.update(&challenge).await?;
        tx.wake_after_commit(&self.app_asked);
        tx.commit().await?;
        self.metrics.proved(&locked.account.product, challenge.purpose, challenge.proof);
        Ok(Answered::Approved)
    }

    /// "It was not me": the challenge ends. The second time within an hour the app is asked nothing more for an hour, and all
    /// other methods are told.
    pub async fn deny(&self, call: &AppCall, request: Uuid) -> Result<Answered, FlowError> {
        let Some((mut tx, mut locked, mut challenge, mut request)) = self.lock_request(call, request).await?
        else {
            return Err(FlowError::Missing("request"));
        };
        if request.state == RequestState::Denied {
            tx.commit().await?;
            return Ok(Answered::Denied { paused_until: call.key.paused_until });
        }
        if request.state == RequestState::Approved || !challenge.state.is_live() {
            tx.commit().await?;
            return Ok(Answered::Ended(challenge.state));
        }
        let now = locked.now;
        request.state = RequestState::Denied;
        request.other_network = is_other_network(call, &challenge);
        tx.update(&request).await?;
        challenge.end(ChallengeState::Denied, now);
        tx.update(&challenge).await?;
        self.forget_codes(&mut tx, &challenge, now).await?;
        let data = json!({"challenge": challenge.id, "method": "app"});
        self.event(&mut tx, &locked.account, "challenge.denied", "user", data, now).await?;
        let rules = [Rule::per(1, DENIAL_WINDOW_S)];
        let limit = Count { name: "app_denials", subject: request.method.to_string(), rules: &rules };
        let second = count(&mut tx, &self.keys, &[limit], now).await?.is_some();
        let paused_until = second.then(|| after(now, std::time::Duration::from_secs(DENIAL_WINDOW_S)));
        if let Some(until) = paused_until {
            self.pause_app(&mut tx, &mut locked, request.method, until).await?;
        }
        tx.commit().await?;
        Ok(Answered::Denied { paused_until })
    }

    async fn pause_app(
        &self, tx: &mut Tx, locked: &mut Locked, method: Uuid, until: Timestamp,
    ) -> Result<(), FlowError> {
        let Some(paused) = locked.methods.iter_mut().find(|m| m.id == method && m.is_active()) else {
            return Ok(());
        };
        paused.pause(DENIED);
        tx.update(paused).await?;
        if let Some(mut key) = tx.lock::<AppKey>(method).await? {
            key.paused_until = Some(until);
            tx.update(&key).await?;
        }
        self.tell_pause(tx, locked, method, DENIED).await
    }

    /// Apps whose pause is over are asked again.
    pub async fn resume_apps(&self) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        let now = Value::Int(tx.now().await?.as_millisecond());
        let over = tx.select::<AppKey>("where paused_until <= $1 order by method limit 1000", &[now]).await?;
        drop(tx);
        for seen in over {
            let mut tx = self.store.begin().await?;
            let mut locked = match lock_account(&mut tx, seen.account).await {
                Err(FlowError::Missing(_)) => continue,
                locked => locked?,
            };
            let Some(mut key) = tx.lock::<AppKey>(seen.method).await? else { continue };
            if key.paused_until.is_none_or(|until| until > locked.now) {
                continue;
            }
            key.paused_until = None;
            tx.update(&key).await?;
            let method = locked.methods.iter_mut().find(|m| m.id == key.method && m.is_paused_for(DENIED));
            if let Some(method) = method {
                method.activate(locked.now);
                tx.update(method).await?;
                let data = json!({"method": method.id, "kind": "app"});
                self.event(&mut tx, &locked.account, "method.resumed", "system", data, locked.now).await?;
            }
            tx.commit().await?;
        }
        Ok(())
    }

    /// The code of a request, for a user who rather types it on the page.
    pub async fn app_code(
        &self, call: &AppCall, request: Uuid,
    ) -> Result<Result<(Digits, Timestamp), Answered>, FlowError> {
        let Some((mut tx, locked, challenge, mut request)) = self.lock_request(call, request).await? else {
            return Err(FlowError::Missing("request"));
        };
        if let Some(over) = self.is_over(&locked, &challenge, &request, call) {
            tx.commit().await?;
            return Ok(Err(over));
        }
        let method = locked.method(request.method).ok_or(FlowError::Missing("method"))?;
        let (code, digits) = self.live_code(&mut tx, &challenge, method, locked.now).await?;
        request.other_network = is_other_network(call, &challenge);
        tx.update(&request).await?;
        tx.commit().await?;
        Ok(Ok((digits, code.expires_at)))
    }

    /// Locks what a request is about. None where the request is not this app's.
    async fn lock_request(
        &self, call: &AppCall, request: Uuid,
    ) -> Result<Option<(Tx, Locked, Challenge, AppRequest)>, FlowError> {
        let mut tx = self.store.begin().await?;
        let seen = tx.get::<AppRequest>(request).await?.filter(|r| r.method == call.key.method);
        let Some(seen) = seen else { return Ok(None) };
        let (locked, challenge) = lock_challenge(&mut tx, seen.challenge).await?;
        let Some(request) = tx.lock::<AppRequest>(request).await? else { return Ok(None) };
        Ok(Some((tx, locked, challenge, request)))
    }

    /// Why a request takes no answer any more; none where it does.
    fn is_over(
        &self, locked: &Locked, challenge: &Challenge, request: &AppRequest, call: &AppCall,
    ) -> Option<Answered> {
        match challenge.may_enter(&locked.account, locked.now) {
            Err(EntryRefused::Ended(state)) => return Some(Answered::Ended(state)),
            Err(EntryRefused::Paused { until }) => return Some(Answered::Paused { until, now: locked.now }),
            Ok(()) => {}
        }
        let method = locked.method(call.key.method);
        let usable = method.is_some_and(|m| may_prove(m, challenge, self.config().email.second_step));
        (!request.is_open() || !usable).then_some(Answered::Ended(ChallengeState::Cancelled))
    }

    /// The page after an approval: the browser goes on, and its device is trusted where the user ticks the box.
    pub async fn go_on_approved(
        &self, challenge: Uuid, visit: &super::Visit, trust: bool,
    ) -> Result<Option<Entered>, FlowError> {
        let mut tx = self.store.begin().await?;
        let (locked, mut challenge) = lock_challenge(&mut tx, challenge).await?;
        Who::Browser(visit.clone()).must_own(self, &locked.account, &challenge)?;
        let approved = challenge.proof == Some(Proof::App) && challenge.state == ChallengeState::Verified;
        if !approved {
            let over = (!challenge.state.is_live()).then(|| ended(&challenge, &locked.account, locked.now));
            tx.commit().await?;
            return Ok(over);
        }
        let cookie = self.trust_approved(&mut tx, &locked, &mut challenge, visit, trust).await?;
        let until = after(locked.now, TICKET_LIFE);
        challenge.ticket_until = challenge.ticket_until.map(|t| t.min(until));
        tx.update(&challenge).await?;
        tx.commit().await?;
        let location = self.location(&challenge);
        Ok(Some(Entered::Verified { location, cookie, result: None, new_recovery_code: None }))
    }
}

impl Core {
    /// Trusts or recognises the browser of an approved challenge. Returns its cookie, and again where the answer before was
    /// lost.
    async fn trust_approved(
        &self, tx: &mut Tx, locked: &Locked, challenge: &mut Challenge, visit: &super::Visit, trust: bool,
    ) -> Result<Option<String>, FlowError> {
        if let Some(device) = challenge.device {
            let device = tx.get::<Device>(device).await?;
            return Ok(device.map(|device| DeviceCookie::write(&self.keys, &device)));
        }
        let kind = match challenge.purpose {
            Purpose::NewDevice => TrustKind::Recognised,
            Purpose::SignIn if trust => TrustKind::Trusted,
            _ => return Ok(None),
        };
        let (device, given) = self.trust(tx, locked, kind, visit).await?;
        challenge.device = Some(device);
        Ok(Some(given))
    }

    /// The result of an approval, for a back end that shows its own pages; none while nobody has answered.
    pub async fn approved(
        &self, challenge: Uuid, product: &str, trust: bool, device: Option<String>,
    ) -> Result<Option<Entered>, FlowError> {
        let mut tx = self.store.begin().await?;
        let (locked, mut challenge) = lock_challenge(&mut tx, challenge).await?;
        Who::Product(product.to_owned()).must_own(self, &locked.account, &challenge)?;
        let ours = challenge.proof == Some(Proof::App) && challenge.browser_hash.is_none();
        let first = ours && challenge.state == ChallengeState::Verified;
        let again = ours && challenge.is_answered_directly(locked.now);
        if !(first || again) {
            let over = (!challenge.state.is_live()).then(|| ended(&challenge, &locked.account, locked.now));
            tx.commit().await?;
            return Ok(over);
        }
        let agent = challenge.agent.clone().unwrap_or_default();
        let visit = super::Visit { device, agent, ..super::Visit::default() };
        let cookie = self.trust_approved(&mut tx, &locked, &mut challenge, &visit, trust && first).await?;
        let result = self.result_directly(&mut tx, &locked, &mut challenge).await?;
        tx.update(&challenge).await?;
        tx.commit().await?;
        Ok(Some(Entered::Verified { location: None, cookie, result, new_recovery_code: None }))
    }
}

/// Whether the app speaks from another network than the browser's, as far as both are known.
fn is_other_network(call: &AppCall, challenge: &Challenge) -> bool {
    match (&call.client_hash, &challenge.client_hash) {
        (Some(app), Some(browser)) => app != browser,
        _ => false,
    }
}
