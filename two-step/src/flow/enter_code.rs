//! Finds a six-digit entry among the live codes, or checks it with an authenticator's key.

use uuid::Uuid;

use super::enter::Match;
use super::send::may_prove;
use super::{Core, FlowError, LockedRows};
use crate::app_request::AppRequest;
use crate::challenge::{Challenge, Proof, Purpose};
use crate::code::{Code, SecretText, TypedText};
use crate::method::{Channel, Kind, Method};
use crate::seal::{Sealed, same};
use crate::store::{Dispatch, Tx, Value};
use crate::totp::{self, Checked};

impl Core {
    /// Returns the matching live code, or the matching authenticator if the page shows one.
    pub(super) async fn find_code(
        &self, tx: &mut Tx, locked: &LockedRows, challenge: &Challenge, codes: &[Code], digits: &SecretText,
    ) -> Result<(Option<Match>, Option<i64>), FlowError> {
        let email = self.config().email.second_step;
        let usable = |id: Uuid| locked.method(id).filter(|m| may_prove(m, challenge, email));
        let live = codes.iter().filter(|c| c.is_live(locked.now));
        for code in live {
            let Some(method) = usable(code.method) else { continue };
            if same(&code.hash, &self.code_hash(code.id, digits.expose())) {
                let proof = match method.kind {
                    Kind::Email => Proof::Email,
                    Kind::App => Proof::App,
                    _ => delivery_channel(tx, code).await?,
                };
                let other_network = method.kind == Kind::App
                    && fetched_from_other_network(tx, challenge.id, method.id).await?;
                let group = Some(code.group_id);
                return Ok((Some(Match { group, other_network, ..Match::of(method.id, proof) }), None));
            }
        }
        // A user with several authenticators may not know which of them the page means.
        let shown = challenge.method.and_then(usable).filter(|m| m.kind == Kind::Totp);
        let Some(shown) = shown else { return Ok((None, None)) };
        let mut clock_behind_s = None;
        let all = locked.methods.iter().filter(|m| m.kind == Kind::Totp && may_prove(m, challenge, email));
        for method in std::iter::once(shown).chain(all.filter(|m| m.id != shown.id)) {
            let sealed = method.secret_sealed.as_deref().ok_or(FlowError::Missing("method"))?;
            let key = self.keys.open(Sealed::MethodSecret, method.id, sealed)?;
            match totp::check(&key, digits, method.totp_step, self.config().totp.tolerance_steps, locked.now)
            {
                Checked::Right { step } => {
                    return Ok((
                        Some(Match { totp_step: Some(step), ..Match::of(method.id, Proof::Totp) }),
                        None,
                    ));
                }
                // A code of a future time is reported only during set-up: it would become valid later.
                Checked::ClockOff { behind_s } if behind_s < 0 && challenge.purpose != Purpose::Enrol => {}
                Checked::ClockOff { behind_s } => clock_behind_s = Some(behind_s),
                Checked::Used | Checked::Wrong => {}
            }
        }
        Ok((None, clock_behind_s))
    }

    /// Returns the methods that an entry is compared with.
    pub(super) fn compared_with(
        &self, locked: &LockedRows, challenge: &Challenge, codes: &[Code], typed: &TypedText,
    ) -> Vec<Uuid> {
        let email = self.config().email.second_step;
        let methods = locked.methods.iter().filter(|m| may_prove(m, challenge, email));
        let shows_totp = methods.clone().any(|m| challenge.method == Some(m.id) && m.kind == Kind::Totp);
        let is_compared = |method: &&Method| match (typed, method.kind) {
            (TypedText::Code(_), Kind::Totp) => shows_totp,
            (TypedText::Code(_), _) => codes.iter().any(|c| c.method == method.id && c.is_live(locked.now)),
            (TypedText::Recovery(_), kind) => kind == Kind::Recovery,
            (TypedText::Support(_) | TypedText::Unreadable, _) => false,
        };
        methods.filter(is_compared).map(|m| m.id).collect()
    }
}

/// Returns whether the app fetched its code from another network than the browser's.
async fn fetched_from_other_network(tx: &mut Tx, challenge: Uuid, method: Uuid) -> Result<bool, FlowError> {
    let request = "where challenge = $1 and method = $2 and other_network";
    let values = [Value::Uuid(challenge), Value::Uuid(method)];
    Ok(tx.find::<AppRequest>(request, &values).await?.is_some())
}

/// Returns how a code was sent: by its newest text or call.
async fn delivery_channel(tx: &mut Tx, code: &Code) -> Result<Proof, FlowError> {
    let newest = "where group_id = $1 order by issued_at desc, id desc limit 1";
    let dispatch = tx.find::<Dispatch>(newest, &[Value::Uuid(code.group_id)]).await?;
    Ok(match dispatch.map(|d| d.channel.unwrap_or(d.first_channel)) {
        Some(Channel::Voice) => Proof::Voice,
        _ => Proof::Sms,
    })
}
