//! Creates challenges for back ends.

use std::net::IpAddr;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Core, FlowError, MAX_LABEL_CHARS, Visit, lock_account};
use crate::account::{Account, is_user_ref};
use crate::challenge::{Challenge, Purpose};
use crate::method::{Method, WRONG_CODES};
use crate::seal::{Hashed, random_token};
use crate::store::{Tx, Value, new_id};

/// Maximum length of `state` and `nonce`, in characters.
const MAX_OPAQUE_CHARS: usize = 512;
/// Maximum length of a language tag, in characters (RFC 5646, section 4.4.1).
const MAX_LOCALE_CHARS: usize = 35;

/// The parameters of a challenge.
#[derive(Debug, Clone, Default)]
pub struct NewChallenge {
    /// The product's id of the user.
    pub user: String,
    /// Whether the purpose is a confirmation instead of a sign-in.
    pub confirm: bool,
    /// The return URL; `None`: the challenge is used over the API only.
    pub return_url: Option<String>,
    /// Returned unchanged in the URL.
    pub state: Option<String>,
    /// Returned unchanged in the result.
    pub nonce: Option<String>,
    /// The client's address.
    pub client_ip: Option<IpAddr>,
    /// Language of the pages.
    pub locale: Option<String>,
    /// The token of a trusted device from an earlier challenge. Only without pages.
    pub device_token: Option<String>,
    /// Browser and system in words, for the list of devices.
    pub device_label: Option<String>,
    /// The browser's location, if the product knows it. The app shows it.
    pub place: Option<String>,
}

/// The result of creating a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The account is off, so no second step is needed.
    NotRequired,
    /// A challenge was created.
    Challenge {
        /// The id.
        id: Uuid,
        /// The challenge's URL. Its secret works for one browser.
        url: String,
        /// When it expires unless a browser opens it.
        expires_at: Timestamp,
        /// The device's new token, if the product sent a valid one.
        device_token: Option<String>,
    },
    /// The device is trusted, so the challenge is verified.
    Trusted {
        /// The id.
        id: Uuid,
        /// The signed result.
        result: String,
        /// The device's new token.
        device_token: Option<String>,
    },
}

impl Core {
    /// Creates a challenge for a user of a product.
    pub async fn create(&self, product: &str, new: NewChallenge) -> Result<Created, FlowError> {
        let section = self.product(product)?;
        check_opaque("state", new.state.as_deref())?;
        check_opaque("nonce", new.nonce.as_deref())?;
        check_locale(new.locale.as_deref())?;
        check_label("device_label", new.device_label.as_deref())?;
        check_label("place", new.place.as_deref())?;
        if let Some(url) = &new.return_url {
            self.check_return_url(product, url)?;
        }
        let mut tx = self.store.begin().await?;
        let mut account = self.account(&mut tx, product, &new.user).await?;
        let now = tx.now().await?;
        let purpose = if account.is_on() {
            if new.confirm { Purpose::Confirm } else { Purpose::SignIn }
        } else {
            let wanted = section.new_device_check.kind();
            let kept = "where account = $1 and state <> 'removed'";
            let methods = tx.select::<Method>(kept, &[Value::Uuid(account.id)]).await?;
            // A hundred wrong codes pause a method. They must not turn the check off.
            let checks =
                |m: &Method| Some(m.kind) == wanted && (m.is_active() || m.is_paused_for(WRONG_CODES));
            // The check of unknown browsers is for sign-ins only. For a confirmation there is no method, so the answer
            // is `not_required`.
            if new.confirm || !methods.iter().any(checks) {
                tx.commit().await?;
                return Ok(Created::NotRequired);
            }
            Purpose::NewDevice
        };
        if let Some(locale) = &new.locale {
            account.locale = Some(locale.clone());
            tx.update(&account).await?;
        }
        let handle = random_token();
        let mut challenge =
            Challenge::new(new_id(), account.id, purpose, self.config().challenge.life.0, now);
        challenge.handle_hash = self.keys.hash_text(Hashed::ChallengeHandle, &handle);
        challenge.return_url = new.return_url;
        challenge.return_state = new.state;
        challenge.nonce = new.nonce;
        challenge.locale = account.locale.clone();
        challenge.client_hash = new.client_ip.map(|ip| self.client_hash(ip));
        challenge.agent = new.device_label;
        challenge.place = new.place;
        tx.insert(&challenge).await?;
        let mut device_token = None;
        if new.device_token.is_some() {
            let visit = Visit { device: new.device_token, ..Visit::default() };
            let locked = lock_account(&mut tx, account.id).await?;
            let (trusted, token) = self.check_device_cookie(&mut tx, &locked, &challenge, &visit).await?;
            device_token = token;
            if trusted.is_some() {
                challenge.device = trusted;
                let result = self.verify_by_trust(&mut tx, &locked, &mut challenge).await?;
                tx.commit().await?;
                self.metrics.count_challenge(product, purpose);
                self.metrics.count_proof(product, purpose, challenge.proof);
                return Ok(Created::Trusted { id: challenge.id, result, device_token });
            }
        }
        tx.commit().await?;
        self.metrics.count_challenge(product, purpose);
        let url = format!("{}/c/{handle}", self.config().public_url.as_str());
        Ok(Created::Challenge { id: challenge.id, url, expires_at: challenge.expires_at, device_token })
    }

    /// Locks the account of a user. Creates it if it does not exist.
    pub(super) async fn account(&self, tx: &mut Tx, product: &str, user: &str) -> Result<Account, FlowError> {
        if !is_user_ref(user) {
            return Err(FlowError::invalid(
                "user",
                "must be 1 to 128 characters, none of them a control character or @",
            ));
        }
        let by_name = [Value::Text(product.to_owned()), Value::Text(user.to_owned())];
        let find = "where product = $1 and user_ref = $2";
        if let Some(account) = tx.select_locked::<Account>(find, &by_name).await?.pop() {
            return Ok(account);
        }
        let now = tx.now().await?;
        let account = Account::new(new_id(), product, user, now);
        let insert = format!("{} on conflict do nothing", <Account as crate::store::Record>::INSERT);
        tx.execute(&insert, &crate::store::Record::values(&account)).await?;
        tx.select_locked::<Account>(find, &by_name).await?.pop().ok_or(FlowError::Missing("account"))
    }

    /// Checks that a return URL is on the product's list, character by character.
    pub(super) fn check_return_url(&self, product: &str, url: &str) -> Result<(), FlowError> {
        let listed = self.product(product)?.return_urls.iter().any(|u| u == url);
        if listed {
            Ok(())
        } else {
            Err(FlowError::invalid("return_url", "must equal an entry of the product's return_urls"))
        }
    }
}

pub(super) fn check_opaque(field: &'static str, text: Option<&str>) -> Result<(), FlowError> {
    let fits = text.is_none_or(|t| t.chars().count() <= MAX_OPAQUE_CHARS && !t.chars().any(char::is_control));
    if fits {
        Ok(())
    } else {
        Err(FlowError::invalid(field, "must have at most 512 characters, none of them a control character"))
    }
}

/// Maximum length of a display name, in characters: it fits into a QR code in any script.
pub(super) const MAX_NAME_CHARS: usize = 64;

pub(super) fn check_display_name(name: Option<&str>) -> Result<(), FlowError> {
    let fits = name.is_none_or(|n| n.chars().count() <= MAX_NAME_CHARS && !n.chars().any(char::is_control));
    if fits {
        Ok(())
    } else {
        Err(FlowError::invalid(
            "display_name",
            "must have at most 64 characters, none of them a control character",
        ))
    }
}

fn check_label(field: &'static str, text: Option<&str>) -> Result<(), FlowError> {
    let fits = text.is_none_or(|t| {
        (1..=MAX_LABEL_CHARS).contains(&t.chars().count()) && !t.chars().any(char::is_control)
    });
    if fits {
        Ok(())
    } else {
        Err(FlowError::invalid(field, "must have 1 to 40 characters, none of them a control character"))
    }
}

pub(super) fn check_locale(tag: Option<&str>) -> Result<(), FlowError> {
    let fits = tag.is_none_or(|t| {
        (1..=MAX_LOCALE_CHARS).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    });
    if fits {
        Ok(())
    } else {
        Err(FlowError::invalid("locale", "must be a language tag such as en or de-AT"))
    }
}
