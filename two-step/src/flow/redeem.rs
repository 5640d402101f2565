//! Issues tickets for proofs, and redeems tickets for signed results.

use jiff::Timestamp;
use uuid::Uuid;

use super::counting::lock_subject;
use super::{Core, FlowError, LockedRows, lock_challenge};
use crate::account::Account;
use crate::challenge::{Acr, Challenge, ChallengeState, Proof, Purpose, TICKET_LIFE};
use crate::clock::{after, before};
use crate::result::{Claims, KEY_LIFE, KEY_OVERLAP, SigningKey, generate};
use crate::seal::{Hashed, Sealed};
use crate::store::{Tx, Value, new_id};

/// The result of redeeming a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redeemed {
    /// The signed result.
    Result(String),
    /// The ticket has expired.
    Over,
}

impl Core {
    /// Marks a challenge as verified, and issues its ticket. After a recovery code, the life of the ticket starts when the
    /// user continues.
    pub(super) fn verify(&self, challenge: &mut Challenge, proof: Proof, acr: Acr, now: Timestamp) {
        challenge.verify(proof, acr, now);
        if proof == Proof::Recovery {
            challenge.ticket_until = Some(challenge.expires_at.max(after(now, TICKET_LIFE)));
        }
        challenge.ticket_hash = Some(self.keys.hash_text(Hashed::Ticket, &self.ticket(challenge)));
    }

    /// Returns the ticket of a verified challenge. It is derived from the challenge, so a lost answer can be repeated.
    fn ticket(&self, challenge: &Challenge) -> String {
        let jti = challenge.jti.unwrap_or_default();
        self.keys.hash(Hashed::Ticket, &[b"secret", challenge.id.as_bytes(), jti.as_bytes()])
    }

    /// Returns the redirect URL after a challenge; `None` while it is live, or without a return URL.
    pub fn location(&self, challenge: &Challenge) -> Option<String> {
        let url = challenge.return_url.as_deref()?;
        if challenge.purpose == Purpose::Settings {
            // Our own page reads the session, and needs no ticket.
            return (!challenge.state.is_live()).then(|| url.to_owned());
        }
        let mut query = form_urlencoded::Serializer::new(String::new());
        match challenge.state {
            ChallengeState::Created | ChallengeState::Open => return None,
            // The back end has verified it, and has the result.
            ChallengeState::Verified | ChallengeState::Redeemed | ChallengeState::Lapsed
                if challenge.ticket_hash.is_none() =>
            {
                return None;
            }
            ChallengeState::Verified | ChallengeState::Redeemed | ChallengeState::Lapsed => {
                query.append_pair("ticket", &self.ticket(challenge));
            }
            ended => {
                query.append_pair("status", ended.into());
            }
        }
        if let Some(state) = &challenge.return_state {
            query.append_pair("state", state);
        }
        Some(format!("{url}?{}", query.finish()))
    }

    /// Starts the life of the ticket after the user saw the new recovery code.
    pub async fn continue_sign_in(
        &self, challenge: Uuid, who: &super::Requester,
    ) -> Result<Option<String>, FlowError> {
        let mut tx = self.store.begin().await?;
        let (locked, mut challenge) = lock_challenge(&mut tx, challenge).await?;
        who.must_own(self, &locked.account, &challenge)?;
        if challenge.state == ChallengeState::Verified {
            let until = after(locked.now, TICKET_LIFE);
            challenge.ticket_until = challenge.ticket_until.map(|t| t.min(until));
            tx.update(&challenge).await?;
        }
        tx.commit().await?;
        Ok(self.location(&challenge))
    }

    /// Redeems a ticket. Within a minute, redeeming it again returns the same claims.
    pub async fn redeem(&self, product: &str, ticket: &str) -> Result<Redeemed, FlowError> {
        let mut tx = self.store.begin().await?;
        let hash = self.keys.hash_text(Hashed::Ticket, ticket);
        let Some(seen) = tx.find::<Challenge>("where ticket_hash = $1", &[Value::Text(hash)]).await? else {
            return Ok(Redeemed::Over);
        };
        let (locked, mut challenge) = lock_challenge(&mut tx, seen.id).await?;
        if locked.account.product != product
            || matches!(challenge.purpose, Purpose::Settings | Purpose::Enrol)
        {
            return Ok(Redeemed::Over);
        }
        match challenge.state {
            ChallengeState::Verified => {
                challenge.state = ChallengeState::Redeemed;
                challenge.redeemed_at = Some(locked.now);
                tx.update(&challenge).await?;
            }
            ChallengeState::Redeemed
                if challenge.redeemed_at.is_some_and(|at| locked.now < after(at, TICKET_LIFE)) => {}
            _ => {
                tx.commit().await?;
                return Ok(Redeemed::Over);
            }
        }
        let result = self.result(&mut tx, &locked.account, &challenge, locked.now).await?;
        tx.commit().await?;
        result.map(Redeemed::Result).ok_or(FlowError::Missing("challenge"))
    }

    /// Returns the signed result of a challenge that the back end has just verified; `None` for a challenge of our own
    /// settings. The caller writes the challenge.
    pub(super) async fn result_for_back_end(
        &self, tx: &mut Tx, locked: &LockedRows, challenge: &mut Challenge,
    ) -> Result<Option<String>, FlowError> {
        if matches!(challenge.purpose, Purpose::Settings | Purpose::Enrol) {
            return Ok(None);
        }
        challenge.ticket_hash = None;
        challenge.state = ChallengeState::Redeemed;
        challenge.redeemed_at.get_or_insert(locked.now);
        self.result(tx, &locked.account, challenge, locked.now).await
    }

    /// Returns the signed result of a verified challenge.
    pub(super) async fn result(
        &self, tx: &mut Tx, account: &Account, challenge: &Challenge, now: Timestamp,
    ) -> Result<Option<String>, FlowError> {
        let long_code = self.config().code.life.0.as_secs() > 600;
        let issued_at = challenge.redeemed_at.unwrap_or(now);
        let config = self.config();
        let issuer = config.public_url.as_str();
        let Some(claims) =
            Claims::of(challenge, issuer, &account.product, &account.user_ref, issued_at, long_code)
        else {
            return Ok(None);
        };
        let (keys, now) = self.signing_keys(tx).await?;
        let key = keys
            .iter()
            .find(|k| k.retired_at.is_none() && k.signs_from <= now)
            .ok_or(FlowError::Internal("there is no key to sign results"))?;
        let private = self.keys.open(Sealed::SigningKey, key.id, &key.sealed)?;
        claims
            .sign(key.id, &private)
            .map(Some)
            .map_err(|_| FlowError::Internal("there is no key to sign results"))
    }

    /// Returns the published keys, newest first. Creates the first one. A successor is published a day before it signs.
    pub async fn published_keys(&self) -> Result<Vec<SigningKey>, FlowError> {
        let mut tx = self.store.begin().await?;
        let (keys, _) = self.signing_keys(&mut tx).await?;
        tx.commit().await?;
        Ok(keys)
    }

    /// Returns the published keys, and the time of the read.
    async fn signing_keys(&self, tx: &mut Tx) -> Result<(Vec<SigningKey>, Timestamp), FlowError> {
        let now = tx.now().await?;
        let live = Value::Int(before(now, KEY_OVERLAP).as_millisecond());
        let published = "where retired_at is null or retired_at > $1 order by signs_from desc, id desc";
        let mut keys = tx.select::<SigningKey>(published, std::slice::from_ref(&live)).await?;
        let signs =
            |keys: &[SigningKey], now| keys.iter().any(|k| k.retired_at.is_none() && k.signs_from <= now);
        if signs(&keys, now) {
            return Ok((keys, now));
        }
        lock_subject(tx, &self.keys, "signing_keys", "", now).await?;
        // Another transaction may have created the key after the time above.
        let now = tx.now().await?;
        keys = tx.select::<SigningKey>(published, &[live]).await?;
        if signs(&keys, now) {
            return Ok((keys, now));
        }
        let key = self.create_signing_key(tx, now, now).await?;
        keys.insert(0, key);
        Ok((keys, now))
    }

    async fn create_signing_key(
        &self, tx: &mut Tx, signs_from: Timestamp, now: Timestamp,
    ) -> Result<SigningKey, FlowError> {
        let (private, public) = generate();
        let id = new_id();
        let sealed = self.keys.seal(Sealed::SigningKey, id, &private);
        let key = SigningKey { id, public, sealed, created_at: now, signs_from, retired_at: None };
        tx.insert(&key).await?;
        Ok(key)
    }

    /// Publishes a successor if the newest key is old, or at once with `force`. Retires a key after its successor signs.
    /// Returns whether a key was published.
    pub async fn rotate_signing_keys(&self, force: bool) -> Result<bool, FlowError> {
        let mut tx = self.store.begin().await?;
        let now = tx.now().await?;
        lock_subject(&mut tx, &self.keys, "signing_keys", "", now).await?;
        let (keys, now) = self.signing_keys(&mut tx).await?;
        let newest = keys.iter().filter(|k| k.retired_at.is_none()).max_by_key(|k| k.signs_from);
        let due = newest.is_none_or(|k| after(k.signs_from, KEY_LIFE) <= after(now, KEY_OVERLAP));
        let successor_waits = newest.is_some_and(|k| k.signs_from > now);
        let publishes = (due || force) && !successor_waits;
        if publishes {
            self.create_signing_key(&mut tx, after(now, KEY_OVERLAP), now).await?;
        }
        let signing = keys.iter().filter(|k| k.retired_at.is_none() && k.signs_from <= now);
        for old in signing.skip(1) {
            tx.update(&SigningKey { retired_at: Some(now), ..old.clone() }).await?;
        }
        tx.commit().await?;
        Ok(publishes)
    }
}
