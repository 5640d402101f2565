//! The continuation of a browser or back end after an approval.

use uuid::Uuid;

use super::enter::{Entered, Requester, ended};
use super::{Core, DeviceCookie, FlowError, LockedRows, Visit, lock_challenge};
use crate::challenge::{Challenge, ChallengeState, Proof, Purpose, TICKET_LIFE};
use crate::clock::after;
use crate::device::{Device, TrustKind};
use crate::store::Tx;

impl Core {
    /// Continues a browser after an approval, and trusts its device if the user ticked the checkbox.
    pub async fn continue_approved(
        &self, challenge: Uuid, visit: &Visit, trust: bool,
    ) -> Result<Option<Entered>, FlowError> {
        let mut tx = self.store.begin().await?;
        let (locked, mut challenge) = lock_challenge(&mut tx, challenge).await?;
        Requester::Browser(visit.clone()).must_own(self, &locked.account, &challenge)?;
        // The previous answer may have been lost after its ticket was redeemed. For a minute it is repeated.
        let approved = challenge.proof == Some(Proof::App) && challenge.is_answered(locked.now);
        if !approved {
            let over = (!challenge.state.is_live()).then(|| ended(&challenge, &locked.account, locked.now));
            tx.commit().await?;
            return Ok(over);
        }
        let cookie = self.trust_approved(&mut tx, &locked, &mut challenge, visit, trust).await?;
        if challenge.state == ChallengeState::Verified {
            let until = after(locked.now, TICKET_LIFE);
            challenge.ticket_until = challenge.ticket_until.map(|t| t.min(until));
        }
        tx.update(&challenge).await?;
        tx.commit().await?;
        let location = self.location(&challenge);
        Ok(Some(Entered::Verified { location, cookie, result: None, new_recovery_code: None }))
    }

    /// Trusts or recognises the browser of an approved challenge. Returns its cookie, also when the answer is repeated.
    async fn trust_approved(
        &self, tx: &mut Tx, locked: &LockedRows, challenge: &mut Challenge, visit: &Visit, trust: bool,
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

    /// Returns the result of an approval for a back end with its own pages, or `None` before an answer.
    pub async fn approved(
        &self, challenge: Uuid, product: &str, trust: bool, device: Option<String>,
    ) -> Result<Option<Entered>, FlowError> {
        let mut tx = self.store.begin().await?;
        let (locked, mut challenge) = lock_challenge(&mut tx, challenge).await?;
        Requester::Product(product.to_owned()).must_own(self, &locked.account, &challenge)?;
        let ours = challenge.proof == Some(Proof::App) && challenge.browser_hash.is_none();
        let first = ours && challenge.state == ChallengeState::Verified;
        let again = ours && challenge.is_answered_directly(locked.now);
        if !(first || again) {
            let over = (!challenge.state.is_live()).then(|| ended(&challenge, &locked.account, locked.now));
            tx.commit().await?;
            return Ok(over);
        }
        let agent = challenge.agent.clone().unwrap_or_default();
        let visit = Visit { device, agent, ..Visit::default() };
        let cookie = self.trust_approved(&mut tx, &locked, &mut challenge, &visit, trust && first).await?;
        let result = self.result_for_back_end(&mut tx, &locked, &mut challenge).await?;
        tx.update(&challenge).await?;
        tx.commit().await?;
        Ok(Some(Entered::Verified { location: None, cookie, result, new_recovery_code: None }))
    }
}
