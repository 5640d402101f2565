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
        // GET exists as well and is signed without parameters; nothing here needs it.
        if form.get("StatusCallbackMethod").is_some_and(|method| method != "POST") {
            return Err(Problem::parameter(20001, "The mock gateway sends status callbacks by POST only."));
        }
        let (url, fragment) = given.split_once('#').unwrap_or((given, ""));
        let patience = overrides::read(fragment)
            .map_err(|reason| Problem::parameter(11243, format!("HTTP retry policy is invalid: {reason}")))?;
        Ok(Some(Self { url: url.to_owned(), patience }))
    }

    /// A signed callback with these fields.
    pub(super) fn callback(&self, form: Vec<(String, String)>, config: &Config) -> Callback {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("TwilioProxy/1.1"));
        headers.insert("x-home-region", HeaderValue::from_static("us1"));
        // One token for all attempts of one callback: a receiver drops repeats by it.
        let token = Uuid::new_v4().to_string();
        for (name, value) in [
            ("i-twilio-idempotency-token", token),
            ("x-twilio-signature", sign(&config.auth_token, &self.url, &form)),
        ] {
            // Both are plain letters, digits and signs.
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        Callback { url: self.url.clone(), headers, body: Body::Form(form), patience: self.patience.clone() }
    }
}
