//! The answers of an app to a request: approve, deny, or get a code.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::app_poll::is_other_network;
use super::app_send::app_requests;
use super::counting::{LimitFor, clear, count};
use super::enter::{Entered, Entry, Match, Requester};
use super::send::may_prove;
use super::verified_request::VerifiedRequest;
use super::{Core, FlowError, LockedRows, lock_account, lock_challenge};
use crate::app_key::AppKey;
use crate::app_request::{AppRequest, RequestState, read_digits};
use crate::challenge::{Challenge, ChallengeState, EntryRefused, Proof, TICKET_LIFE};
use crate::clock::after;
use crate::code::SecretText;
use crate::limit::Rule;
use crate::method::DENIED;
use crate::store::{Tx, Value};

/// A second denial within this time pauses the app for the same time.
const DENIAL_WINDOW: Duration = Duration::from_secs(3600);

/// The result of an app's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// Approved: the browser may continue.
    Approved,
    /// Denied: the challenge has ended.
    Denied {
        /// When the app's pause ends, if this was the second denial.
        paused_until: Option<Timestamp>,
    },
    /// The digits are wrong.
    Wrong {
        /// Entries left.
        left: u32,
    },
    /// Not digits, or not as many as the page shows. Not counted.
    Unreadable,
    /// The account is paused, so nothing was checked.
    Paused {
        /// When the pause ends.
        until: Timestamp,
        /// The database's time.
        now: Timestamp,
    },
    /// A newer request replaced this one.
    Replaced,
    /// The challenge has ended, or the app cannot prove it now.
    Ended(ChallengeState),
}

impl Core {
    /// Checks the digits that the user typed into the app.
    pub async fn approve(
        &self, call: &VerifiedRequest, request: Uuid, typed: &str,
    ) -> Result<Answered, FlowError> {
        let Some(found) = self.lock_request(call, request).await? else {
            return Err(FlowError::Missing("request"));
        };
        let product = found.1.account.product.clone();
        let answered = self.approve_in(call, found, typed).await?;
        self.metrics.count_app_entry(&product, &answered);
        Ok(answered)
    }

    async fn approve_in(
        &self, call: &VerifiedRequest, found: (Tx, LockedRows, Challenge, AppRequest), typed: &str,
    ) -> Result<Answered, FlowError> {
        let (mut tx, mut locked, mut challenge, mut request) = found;
        let digits = read_digits(typed, self.config().app.number_digits);
        let fits = digits.as_ref().is_some_and(|d| crate::seal::same(d, &self.app_digits(request.id)));
        // Repeated, because the previous answer may have been lost.
        if request.state == RequestState::Approved && fits {
            tx.commit().await?;
            return Ok(Answered::Approved);
        }
        if let Some(closed) = self.refused_answer(&locked, &challenge, &request, call) {
            tx.commit().await?;
            return Ok(closed);
        }
        if digits.is_none() {
            return Ok(Answered::Unreadable);
        }
        self.count_against_client_limit(&mut tx, &challenge, locked.now).await?;
        if !fits {
            let left =
                self.apply_wrong_entry(&mut tx, &mut locked, &mut challenge, &[request.method]).await?;
            tx.update(&locked.account).await?;
            tx.update(&challenge).await?;
            tx.commit().await?;
            return Ok(left.map_or(Answered::Ended(challenge.state), |left| Answered::Wrong { left }));
        }
        request.state = RequestState::Approved;
        request.other_network |= is_other_network(call, &challenge) == Some(true);
        tx.update(&request).await?;
        let found = Match { other_network: request.other_network, ..Match::of(request.method, Proof::App) };
        let entered = self
            .accept_entry(
                &mut tx,
                &mut locked,
                &mut challenge,
                &found,
                &Entry::default(),
                &Requester::App,
                &[],
                None,
            )
            .await?;
        debug_assert!(matches!(entered, Entered::Verified { .. }));
        // The user approved, so earlier requests no longer count against the limit of unwanted ones.
        clear(&mut tx, &self.keys, &app_requests(&self.config(), &locked.account)).await?;
        // The ticket stays valid until the browser continues.
        challenge.ticket_until = Some(challenge.expires_at.max(after(locked.now, TICKET_LIFE)));
        tx.update(&locked.account).await?;
        tx.update(&challenge).await?;
        tx.wake_after_commit(&self.app_waits.changed);
        tx.commit().await?;
        self.metrics.count_proof(&locked.account.product, challenge.purpose, challenge.proof);
        Ok(Answered::Approved)
    }

    /// Denies a request ("It was not me"), which ends the challenge. After two denials within an hour, by any app of the
    /// account, this app gets no requests for an hour, and all other methods get a notice.
    pub async fn deny(&self, call: &VerifiedRequest, request: Uuid) -> Result<Answered, FlowError> {
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
        request.other_network |= is_other_network(call, &challenge) == Some(true);
        tx.update(&request).await?;
        challenge.end(ChallengeState::Denied, now);
        tx.update(&challenge).await?;
        self.delete_codes(&mut tx, &challenge, now).await?;
        let data = json!({"challenge": challenge.id, "method": "app"});
        self.event(&mut tx, &locked.account, "challenge.denied", "user", data, now).await?;
        let rules = [Rule::per(1, DENIAL_WINDOW.as_secs())];
        let limit = LimitFor { name: "app_denials", subject: request.account.to_string(), rules: &rules };
        let second = count(&mut tx, &self.keys, &[limit], now).await?.is_some();
        let paused_until = second.then(|| after(now, DENIAL_WINDOW));
        if let Some(until) = paused_until {
            self.pause_app(&mut tx, &mut locked, request.method, until).await?;
        }
        tx.commit().await?;
        Ok(Answered::Denied { paused_until })
    }

    async fn pause_app(
        &self, tx: &mut Tx, locked: &mut LockedRows, method: Uuid, until: Timestamp,
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
        self.notify_pause(tx, locked, method, DENIED).await
    }

    /// Ends the expired pauses of apps.
    pub async fn resume_apps(&self) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        let now = Value::Int(tx.now().await?.as_millisecond());
        let closed =
            tx.select::<AppKey>("where paused_until <= $1 order by method limit 1000", &[now]).await?;
        drop(tx);
        for seen in closed {
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

    /// Returns the code of a request, for a user who prefers to type it on the page.
    pub async fn app_code(
        &self, call: &VerifiedRequest, request: Uuid,
    ) -> Result<Result<(SecretText, Timestamp), Answered>, FlowError> {
        let Some((mut tx, locked, challenge, mut request)) = self.lock_request(call, request).await? else {
            return Err(FlowError::Missing("request"));
        };
        if let Some(closed) = self.refused_answer(&locked, &challenge, &request, call) {
            tx.commit().await?;
            return Ok(Err(closed));
        }
        let method = locked.method(request.method).ok_or(FlowError::Missing("method"))?;
        let (code, digits) = self.live_code(&mut tx, &challenge, method, locked.now).await?;
        // A fetch from another network is remembered, even if the browser's own network fetches the code later.
        request.other_network |= is_other_network(call, &challenge) == Some(true);
        tx.update(&request).await?;
        tx.commit().await?;
        Ok(Ok((digits, code.expires_at)))
    }

    /// Locks a request with its account and challenge. Returns `None` if the request is not for this app.
    async fn lock_request(
        &self, call: &VerifiedRequest, request: Uuid,
    ) -> Result<Option<(Tx, LockedRows, Challenge, AppRequest)>, FlowError> {
        let mut tx = self.store.begin().await?;
        let seen = tx.get::<AppRequest>(request).await?.filter(|r| r.method == call.key.method);
        let Some(seen) = seen else { return Ok(None) };
        let (locked, challenge) = lock_challenge(&mut tx, seen.challenge).await?;
        let Some(request) = tx.lock::<AppRequest>(request).await? else { return Ok(None) };
        Ok(Some((tx, locked, challenge, request)))
    }

    /// Returns why a request does not accept an answer, or `None` if it does.
    fn refused_answer(
        &self, locked: &LockedRows, challenge: &Challenge, request: &AppRequest, call: &VerifiedRequest,
    ) -> Option<Answered> {
        match challenge.may_enter(&locked.account, locked.now) {
            Err(EntryRefused::Ended(state)) => return Some(Answered::Ended(state)),
            Err(EntryRefused::Paused { until }) => return Some(Answered::Paused { until, now: locked.now }),
            Ok(()) => {}
        }
        if request.state == RequestState::Replaced {
            return Some(Answered::Replaced);
        }
        let method = locked.method(call.key.method);
        let usable = method.is_some_and(|m| may_prove(m, challenge, self.config().email.second_step));
        (!request.is_open() || !usable).then_some(Answered::Ended(ChallengeState::Cancelled))
    }
}
