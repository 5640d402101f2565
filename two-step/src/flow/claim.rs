//! Claims a challenge for a browser that opens its URL.

use std::net::IpAddr;

use serde_json::json;
use uuid::Uuid;

use super::{Core, FlowError, LockedRows, lock_challenge};
use crate::account::Account;
use crate::challenge::{Acr, Challenge, ChallengeState, ClaimRefused, Proof, Purpose};
use crate::device::{Device, DeviceCheck, Trust, TrustKind, trust_until};
use crate::method::{Method, first};
use crate::seal::{Hashed, Keys, same};
use crate::store::{Tx, Value, new_id};

/// The browser's part of a request.
#[derive(Debug, Clone, Default)]
pub struct Visit {
    /// The secret of its cookie, or a new one.
    pub browser: String,
    /// The device cookie, as it was sent.
    pub device: Option<String>,
    /// Browser and system in words.
    pub agent: String,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The browser's language. Messages use it if the product named none.
    pub locale: Option<String>,
}

/// The result of opening a challenge's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The browser shows the challenge's page.
    Open {
        /// Its id.
        challenge: Uuid,
    },
    /// The device is trusted, and the browser continues.
    Verified {
        /// The redirect URL.
        location: String,
    },
    /// The challenge has ended.
    Ended {
        /// The final state.
        state: ChallengeState,
        /// The product of the challenge.
        product: String,
    },
    /// Another browser claimed it.
    OtherBrowser {
        /// The product of the challenge.
        product: String,
    },
}

/// The strength of a trust. A recognised browser entered one code while the account was off, and no second factor.
fn acr_of_trust(challenge: &Challenge) -> Acr {
    if challenge.purpose == Purpose::NewDevice { Acr::Confirm } else { Acr::Trusted }
}

/// The value of a device's cookie: `<id>.<generation>.<secret>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCookie {
    /// The device's id.
    pub id: Uuid,
    /// The generation of its secret.
    pub generation: i64,
}

impl DeviceCookie {
    /// Parses a cookie. Returns `None` if it is forged or malformed.
    pub fn read(keys: &Keys, text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (id, generation, secret) = (parts.next()?, parts.next()?, parts.next()?);
        let cookie = Self { id: id.parse().ok()?, generation: generation.parse().ok()? };
        (parts.next().is_none() && same(secret, &cookie.secret(keys))).then_some(cookie)
    }

    /// Returns the cookie with a device's current secret.
    pub fn write(keys: &Keys, device: &Device) -> String {
        let cookie = Self { id: device.id, generation: device.generation };
        format!("{}.{}.{}", cookie.id.simple(), cookie.generation, cookie.secret(keys))
    }

    fn secret(&self, keys: &Keys) -> String {
        keys.hash(Hashed::Device, &[self.id.as_bytes(), &self.generation.to_be_bytes()])
    }
}

impl Core {
    /// Claims a challenge for a browser. Returns the result and the new device cookie.
    pub async fn claim(&self, handle: &str, visit: &Visit) -> Result<(Claimed, Option<String>), FlowError> {
        let mut tx = self.store.begin().await?;
        let hash = self.keys.hash_text(Hashed::ChallengeHandle, handle);
        let seen = tx.find::<Challenge>("where handle_hash = $1", &[Value::Text(hash)]).await?;
        let seen = seen.ok_or(FlowError::Missing("challenge"))?;
        let (locked, mut challenge) = lock_challenge(&mut tx, seen.id).await?;
        let browser = self.browser_hash(&visit.browser);
        let first_time = challenge.browser_hash.is_none();
        match challenge.claim(&browser, self.config().challenge.life.0) {
            Err(ClaimRefused::OtherBrowser) => {
                tx.commit().await?;
                return Ok((Claimed::OtherBrowser { product: locked.account.product }, None));
            }
            Err(ClaimRefused::Ended(state)) => {
                tx.commit().await?;
                return Ok((Claimed::Ended { state, product: locked.account.product }, None));
            }
            Ok(()) => {}
        }
        if !first_time {
            tx.commit().await?;
            let claimed = match self.location(&challenge) {
                Some(location) => Claimed::Verified { location },
                None if challenge.state.is_live() => Claimed::Open { challenge: challenge.id },
                None => Claimed::Ended { state: challenge.state, product: locked.account.product },
            };
            return Ok((claimed, None));
        }
        challenge.agent = Some(visit.agent.clone());
        challenge.locale = challenge.locale.take().or_else(|| visit.locale.clone());
        if let Some(client) = visit.client {
            challenge.client_hash = Some(self.client_hash(client));
        }
        let (trusted, cookie) = self.check_device_cookie(&mut tx, &locked, &challenge, visit).await?;
        if let Some(device) = trusted {
            challenge.device = Some(device);
            let acr = acr_of_trust(&challenge);
            self.verify(&mut challenge, Proof::Trust, acr, locked.now);
            self.verified_by_trust(&mut tx, &locked, &challenge).await?;
        } else {
            let email = self.config().email.second_step;
            let start = match challenge.purpose {
                Purpose::NewDevice => {
                    let wanted = self.product(&locked.account.product)?.new_device_check.kind();
                    // The newest address: the product may have sent another one since.
                    locked.methods.iter().rfind(|m| m.is_active() && Some(m.kind) == wanted)
                }
                _ => first(&locked.methods, email),
            };
            // Nothing is sent while the account is paused. The page shows the method for later.
            challenge.method = start.map(|m| m.id);
            if let Some(method) = start.filter(|_| locked.account.pause(locked.now).is_none()) {
                // A refused send is not an error. The page shows when a send is possible, and other methods.
                let _ = self.send_in(&mut tx, &locked, &mut challenge, Some(method.id), None).await?;
            }
        }
        tx.update(&challenge).await?;
        tx.commit().await?;
        if trusted.is_some() {
            self.metrics.count_proof(&locked.account.product, challenge.purpose, challenge.proof);
        }
        let claimed = match self.location(&challenge) {
            Some(location) => Claimed::Verified { location },
            None => Claimed::Open { challenge: challenge.id },
        };
        Ok((claimed, cookie))
    }

    /// Verifies a challenge without pages by a trusted device. Returns the signed result.
    pub(super) async fn verify_by_trust(
        &self, tx: &mut Tx, locked: &LockedRows, challenge: &mut Challenge,
    ) -> Result<String, FlowError> {
        let acr = acr_of_trust(challenge);
        self.verify(challenge, Proof::Trust, acr, locked.now);
        self.verified_by_trust(tx, locked, challenge).await?;
        let result = self.result_for_back_end(tx, locked, challenge).await?;
        tx.update(challenge).await?;
        result.ok_or(FlowError::Missing("challenge"))
    }

    /// Checks and rotates a device cookie. Returns the device if the account trusts it, and the new cookie.
    pub(super) async fn check_device_cookie(
        &self, tx: &mut Tx, locked: &LockedRows, challenge: &Challenge, visit: &Visit,
    ) -> Result<(Option<Uuid>, Option<String>), FlowError> {
        let Some(cookie) = visit.device.as_deref().and_then(|text| DeviceCookie::read(&self.keys, text))
        else {
            return Ok((None, None));
        };
        let Some(mut device) = tx.lock::<Device>(cookie.id).await? else { return Ok((None, None)) };
        let judged = device.check_and_rotate(cookie.generation, locked.now);
        tx.update(&device).await?;
        match judged {
            DeviceCheck::Unknown => return Ok((None, None)),
            DeviceCheck::Replayed => {
                self.end_replayed(tx, locked, &device).await?;
                return Ok((None, None));
            }
            DeviceCheck::Good => {}
        }
        let kind = match challenge.purpose {
            Purpose::SignIn => TrustKind::Trusted,
            Purpose::NewDevice => TrustKind::Recognised,
            // Settings, enrolments and confirmations always need a proof.
            Purpose::Confirm | Purpose::Settings | Purpose::Enrol => {
                return Ok((None, Some(DeviceCookie::write(&self.keys, &device))));
            }
        };
        let trust = tx
            .find::<Trust>(
                "where device = $1 and account = $2 and kind = $3",
                &[Value::Uuid(device.id), Value::Uuid(locked.account.id), Value::Text(kind.to_string())],
            )
            .await?;
        let cookie = Some(DeviceCookie::write(&self.keys, &device));
        match trust.filter(|t| t.holds(kind, locked.now)) {
            Some(mut trust) => {
                trust.used_at = locked.now;
                tx.update(&trust).await?;
                Ok((Some(device.id), cookie))
            }
            None => Ok((None, cookie)),
        }
    }

    /// Marks a challenge as verified by a trusted device.
    pub(super) async fn verified_by_trust(
        &self, tx: &mut Tx, locked: &LockedRows, challenge: &Challenge,
    ) -> Result<(), FlowError> {
        let data = json!({"challenge": challenge.id, "method": Proof::Trust.to_string(), "device": challenge.device});
        self.event(tx, &locked.account, "challenge.verified", "user", data, locked.now).await
    }

    /// Ends the trust of all accounts in a device whose cookie was copied.
    async fn end_replayed(&self, tx: &mut Tx, locked: &LockedRows, device: &Device) -> Result<(), FlowError> {
        let of_device = [Value::Uuid(device.id)];
        let trusting = tx.select::<Trust>("where device = $1 order by account", &of_device).await?;
        let trusts = tx.execute("delete from trust where device = $1", &of_device).await?;
        tracing::warn!(device = %device.id, trusts, "an old device cookie was replayed: the device's trusts have ended");
        self.event(
            tx,
            &locked.account,
            "device.replayed",
            "system",
            json!({"device": device.id}),
            locked.now,
        )
        .await?;
        self.notify(tx, &locked.account, &locked.methods, "device_replayed", locked.now).await?;
        let mut others: Vec<Uuid> = trusting.iter().map(|t| t.account).collect();
        others.dedup();
        for id in others.into_iter().filter(|id| *id != locked.account.id) {
            // Read without locks. Transactions of other accounts may hold them in another order.
            let Some(account) = tx.get::<Account>(id).await? else { continue };
            let kept = "where account = $1 and state <> 'removed' order by id";
            let methods = tx.select::<Method>(kept, &[Value::Uuid(id)]).await?;
            let data = json!({"device": device.id});
            self.event(tx, &account, "device.replayed", "system", data, locked.now).await?;
            self.notify(tx, &account, &methods, "device_replayed", locked.now).await?;
        }
        Ok(())
    }

    /// Trusts the browser for an account. Returns the device and the new cookie.
    pub(super) async fn trust(
        &self, tx: &mut Tx, locked: &LockedRows, kind: TrustKind, visit: &Visit,
    ) -> Result<(Uuid, String), FlowError> {
        let now = locked.now;
        let known = match visit.device.as_deref().and_then(|text| DeviceCookie::read(&self.keys, text)) {
            Some(cookie) => tx
                .lock::<Device>(cookie.id)
                .await?
                .filter(|d| !d.void && d.generation - cookie.generation <= 1),
            None => None,
        };
        let device = if let Some(device) = known {
            device
        } else {
            let device = Device::new(new_id(), &visit.agent, now);
            tx.insert(&device).await?;
            device
        };
        tx.execute(
            "delete from trust where device = $1 and account = $2 and kind = $3",
            &[Value::Uuid(device.id), Value::Uuid(locked.account.id), Value::Text(kind.to_string())],
        )
        .await?;
        let trust = Trust {
            id: new_id(),
            device: device.id,
            account: locked.account.id,
            kind,
            created_at: now,
            expires_at: trust_until(self.config().trust.life.0, now),
            used_at: now,
        };
        tx.insert(&trust).await?;
        if kind == TrustKind::Trusted {
            self.event(tx, &locked.account, "device.trusted", "user", json!({"device": device.id}), now)
                .await?;
        }
        Ok((device.id, DeviceCookie::write(&self.keys, &device)))
    }
}
