//! Status callbacks: their URL and their format.

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue, USER_AGENT};
use uuid::Uuid;

use super::overrides;
use super::problem::Problem;
use super::request::Form;
use super::signature::sign;
use crate::callbacks::{Body, Callback, RetryPolicy};
use crate::config::Config;

/// The `StatusCallback` of a request.
pub(super) struct Address {
    /// The given URL without the fragment.
    url: String,
    by_get: bool,
    retry_policy: RetryPolicy,
}

impl Address {
    /// `None` without a `StatusCallback`.
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
        let retry_policy = overrides::read(fragment)
            .map_err(|reason| Problem::parameter(11243, format!("HTTP retry policy is invalid: {reason}")))?;
        Ok(Some(Self { url: url.to_owned(), by_get, retry_policy }))
    }

    /// The `action` of a `<Gather>`. It is requested once.
    pub(super) fn of_action(url: &str) -> Result<Self, Problem> {
        let wrong = |reason| Problem::parameter(11243, format!("HTTP retry policy is invalid: {reason}"));
        let (url, fragment) = url.split_once('#').unwrap_or((url, ""));
        Ok(Self {
            url: url.to_owned(),
            by_get: false,
            retry_policy: overrides::read(fragment).map_err(wrong)?,
        })
    }

    /// The account's callback URL, for texts without their own.
    pub(super) fn of_account(config: &Config) -> Option<Self> {
        let account = config.account_callback.as_ref()?;
        let (url, fragment) = account.url.split_once('#').unwrap_or((&account.url, ""));
        let retry_policy = overrides::read(fragment).ok()?;
        Some(Self { url: url.to_owned(), by_get: account.by_get, retry_policy })
    }

    /// A signed callback with these fields.
    pub(super) fn callback(&self, form: Vec<(String, String)>, config: &Config) -> Callback {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("TwilioProxy/1.1"));
        headers.insert("x-home-region", HeaderValue::from_static("us1"));
        // One token for all attempts of a callback, so that a receiver can drop repeats.
        let token = Uuid::new_v4().to_string();
        // The signature of a GET covers its whole URL, without parameters.
        let (url, body) =
            if self.by_get { (with_query(&self.url, &form), vec![]) } else { (self.url.clone(), form) };
        for (name, value) in [
            ("i-twilio-idempotency-token", token),
            ("x-twilio-signature", sign(&config.auth_token, &url, &body)),
        ] {
            // Both contain only letters, digits and signs.
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        let body = if self.by_get { Body::InUrl } else { Body::Form(body) };
        Callback { url, headers, body, retry_policy: self.retry_policy.clone() }
    }
}

fn with_query(url: &str, form: &[(String, String)]) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return url.to_owned() };
    parsed.query_pairs_mut().extend_pairs(form);
    parsed.into()
}
