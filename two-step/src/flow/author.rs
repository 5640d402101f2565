//! The author of a change to a user's settings: the user on our pages, or the product's back end.

use jiff::Timestamp;
use uuid::Uuid;

use super::create::check_display_name;
use super::{Core, FlowError, Visit, Visitor, lock_account};
use crate::account::Account;
use crate::challenge::{Challenge, ChallengeState, Purpose};
use crate::clock::between;
use crate::method::Method;
use crate::store::{Session, Tx, Value};

/// The author of a change to settings.
#[derive(Debug, Clone)]
pub enum Author {
    /// A user on our pages.
    Visitor(Visit),
    /// The back end of a product, for one of its users.
    Product {
        /// The product's name in the configuration.
        product: String,
        /// The product's id of the user.
        user: String,
        /// The `jti` of a result for `confirm`. Required while two-step verification is on.
        proof: Option<Uuid>,
        /// The user's name, for authenticator apps.
        display_name: Option<String>,
    },
}

impl From<&Visit> for Author {
    fn from(visit: &Visit) -> Self {
        Self::Visitor(visit.clone())
    }
}

impl Author {
    /// The author's name in events.
    pub(super) fn actor(&self) -> &'static str {
        match self {
            Self::Visitor(_) => "user",
            Self::Product { .. } => "product",
        }
    }
}

/// The locked settings of a user. If a fresh proof was required, it was given.
pub(super) struct Settings {
    pub(super) account: Account,
    /// The methods that are not removed.
    pub(super) methods: Vec<Method>,
    /// The visit to our pages; `None` over the API.
    pub(super) session: Option<Session>,
    /// The user's name, for authenticator apps.
    pub(super) display_name: Option<String>,
    pub(super) actor: &'static str,
    pub(super) now: Timestamp,
}

impl Settings {
    /// The id of the visit.
    pub(super) fn visit(&self) -> Option<Uuid> {
        self.session.as_ref().map(|s| s.id)
    }
}

impl Core {
    /// Locks the settings for a change by an author.
    pub(super) async fn settings(&self, tx: &mut Tx, by: &Author) -> Result<Settings, FlowError> {
        let actor = by.actor();
        match by {
            Author::Visitor(visit) => {
                let Visitor { session, account, methods, needs_proof, now } =
                    self.visitor_in(tx, visit).await?;
                if needs_proof {
                    return Err(FlowError::ProofMissing);
                }
                let display_name = session.display_name.clone();
                Ok(Settings { account, methods, session: Some(session), display_name, actor, now })
            }
            Author::Product { product, user, proof, display_name } => {
                check_display_name(display_name.as_deref())?;
                self.product(product)?;
                let account = self.account(tx, product, user).await?;
                let locked = lock_account(tx, account.id).await?;
                if locked.account.is_on() && !self.is_fresh(tx, account.id, *proof, locked.now).await? {
                    return Err(FlowError::ProofMissing);
                }
                Ok(Settings {
                    account: locked.account,
                    methods: locked.methods,
                    session: None,
                    display_name: display_name.clone().filter(|name| !name.is_empty()),
                    actor,
                    now: locked.now,
                })
            }
        }
    }

    /// Returns whether a proof is from a result for `confirm` that the product redeemed recently.
    async fn is_fresh(
        &self, tx: &mut Tx, account: Uuid, jti: Option<Uuid>, now: Timestamp,
    ) -> Result<bool, FlowError> {
        let Some(jti) = jti else { return Ok(false) };
        let found = tx
            .find::<Challenge>("where account = $1 and jti = $2", &[Value::Uuid(account), Value::Uuid(jti)])
            .await?;
        let fresh = |c: Challenge| {
            c.purpose == Purpose::Confirm
                && c.state == ChallengeState::Redeemed
                && c.ended_at.is_some_and(|at| between(at, now) < self.config().proof.fresh.0)
        };
        Ok(found.is_some_and(fresh))
    }
}
