//! Where a customer wants to be told of states, and how that is put on the wire.

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue, USER_AGENT};
use uuid::Uuid;

use super::overrides;
use super::problem::Problem;
use super::request::Form;
use super::signature::sign;
use crate::config::Config;
use crate::courier::{Body, Callback, Patience};

/// The `StatusCallback` of a request.
pub(super) struct Address {
    /// As it was given, without the fragment.
    url: String,
    by_get: bool,
    patience: Patience,
}

impl Address {
    /// None if the customer did not ask to be told.
    ///
    /// The code 21609 is **unverified**; 11243 is documented for a bad retry policy.
    pub(super) fn parse(form: &Form) -> Result<Option<Self>, Problem> {
        let Some(given) = form.get("StatusCallback") else {
            return Ok(None);
        };
        let wrong =
            || Problem::parameter(21609, format!("The 'StatusCallback' URL {given} is not a valid URL."));
        let parsed = Url::parse(given).map_err(|_| wrong())?;
        let host = parsed.host_str().filter(|host| !host.contains('_'));
        if !matches!(parsed.scheme(), "http" | "https") || host.is_none() {
            return Err(wrong());
        }
        let by_get = match form.get("StatusCallbackMethod") {
            None | Some("POST") => false,
            Some("GET") => true,
            Some(other) => {
                return Err(Problem::parameter(20001, format!("Invalid StatusCallbackMethod {other}")));
            }
        };
        let (url, fragment) = given.split_once('#').unwrap_or((given, ""));
        let patience = overrides::read(fragment)
            .map_err(|reason| Problem::parameter(11243, format!("HTTP retry policy is invalid: {reason}")))?;
        Ok(Some(Self { url: url.to_owned(), by_get, patience }))
    }

    /// The address of the account, for texts that name none.
    pub(super) fn of_account(config: &Config) -> Option<Self> {
        let account = config.account_callback.as_ref()?;
        let (url, fragment) = account.url.split_once('#').unwrap_or((&account.url, ""));
        let patience = overrides::read(fragment).ok()?;
        Some(Self { url: url.to_owned(), by_get: account.by_get, patience })
    }

    /// A signed callback with these fields.
    pub(super) fn callback(&self, form: Vec<(String, String)>, config: &Config) -> Callback {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("TwilioProxy/1.1"));
        headers.insert("x-home-region", HeaderValue::from_static("us1"));
        // One token for all attempts of one callback: a receiver drops repeats by it.
        let token = Uuid::new_v4().to_string();
        // A GET is signed over its whole URL, without parameters.
        let (url, body) =
            if self.by_get { (with_query(&self.url, &form), vec![]) } else { (self.url.clone(), form) };
        for (name, value) in [
            ("i-twilio-idempotency-token", token),
            ("x-twilio-signature", sign(&config.auth_token, &url, &body)),
        ] {
            // Both are plain letters, digits and signs.
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        let body = if self.by_get { Body::InUrl } else { Body::Form(body) };
        Callback { url, headers, body, patience: self.patience.clone() }
    }
}

fn with_query(url: &str, form: &[(String, String)]) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return url.to_owned() };
    parsed.query_pairs_mut().extend_pairs(form);
    parsed.into()
}
