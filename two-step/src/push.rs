//! Web Push (RFC 8030) without a body: a push wakes an app, which then fetches its requests. VAPID (RFC 8292) identifies
//! the sender.

use std::time::Duration;

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use zeroize::Zeroizing;

use crate::clock::after;
use crate::config::Config;
use crate::seal::Keys;

/// Seconds that a push service keeps a push for an unreachable phone.
const TTL_S: u64 = 60;
/// Life of a VAPID token. RFC 8292 allows a day.
const TOKEN_LIFE: Duration = Duration::from_secs(12 * 3600);
/// Time-out of a request to a push service.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum length of an endpoint, in characters.
const MAX_ENDPOINT_CHARS: usize = 2048;

/// The push endpoint of one app, on a host that the configuration allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(reqwest::Url);

impl Endpoint {
    /// Reads an endpoint. Returns `None` unless its host is on the list and its scheme is `https` (`http` on loopback).
    pub fn read(text: &str, config: &Config) -> Option<Self> {
        let url = reqwest::Url::parse(text).ok().filter(|_| text.len() <= MAX_ENDPOINT_CHARS)?;
        let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let host = url.host_str()?;
        let place = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let allowed = config.app.push_hosts.iter().any(|allowed| is_host(allowed, &place));
        // A host with a port is on the list only if the operator runs a push service.
        let safe = url.scheme() == "https" || url.scheme() == "http" && crate::config::is_loopback(host);
        (plain && allowed && safe).then_some(Self(url))
    }

    /// The endpoint's URL.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Returns whether the list allows a host. `*.` matches one label.
fn is_host(allowed: &str, host: &str) -> bool {
    match allowed.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(label, parent)| !label.is_empty() && parent == rest),
        None => host == allowed,
    }
}

/// Returns whether a list entry is a valid host. A `*` needs at least two labels after it: `*.com` would match almost every
/// host.
pub(crate) fn is_entry(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let (rest, least) = host.strip_prefix("*.").map_or((host, 1), |rest| (rest, 2));
    let labels: Vec<&str> = rest.split('.').collect();
    let is_label = |l: &&str| {
        !l.is_empty() && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    labels.len() >= least
        && labels.iter().all(is_label)
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// The key that signs pushes. It is derived from the root key, so subscriptions outlive restarts.
pub struct Vapid {
    /// The private key, PKCS #8.
    private: Zeroizing<Vec<u8>>,
    /// The public key as an uncompressed point, base64url: the `applicationServerKey` of a subscription.
    public: String,
}

impl Vapid {
    /// Derives the key.
    pub fn of(keys: &Keys) -> Self {
        // One candidate in 2³² is not a valid key. Then the next one is used.
        let private =
            (0..=u8::MAX).find_map(|n| PrivateKey::from_private_key(&ECDH_P256, &*keys.push_key(n)).ok());
        let private = private.expect("of 256 values one is a key");
        let der: Pkcs8V1Der<'_> = private.as_der().expect("a P-256 key can be written as PKCS #8");
        let public = private.compute_public_key().expect("a private key has a public one");
        Self {
            private: Zeroizing::new(der.as_ref().to_vec()),
            public: URL_SAFE_NO_PAD.encode(public.as_ref()),
        }
    }

    /// The public key in the form that browsers need for a subscription.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// Returns the `Authorization` header of a push (RFC 8292, 3). `subject` is the contact for the push service.
    fn authorization(&self, endpoint: &Endpoint, subject: &str, now: Timestamp) -> Option<String> {
        let audience = endpoint.0.origin().ascii_serialization();
        let claims = json!({"aud": audience, "exp": after(now, TOKEN_LIFE).as_second(), "sub": subject});
        let key = EncodingKey::from_ec_der(&self.private);
        let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &key).ok()?;
        Some(format!("vapid t={token}, k={}", self.public))
    }
}

/// The result of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The push service accepted it.
    Taken,
    /// The endpoint does not exist any more.
    Gone,
    /// Rejected for good: a retry would not help.
    Refused,
}

/// Sends a push to an endpoint. `Err` has a reason for the log, and the push is retried.
pub async fn push(
    client: &reqwest::Client, vapid: &Vapid, endpoint: &Endpoint, subject: &str, now: Timestamp,
) -> Result<Pushed, String> {
    let authorization = vapid.authorization(endpoint, subject, now).ok_or("the push cannot be signed")?;
    let request = client
        .post(endpoint.0.clone())
        .timeout(TIMEOUT)
        .header("ttl", TTL_S)
        .header("urgency", "high")
        .header("authorization", authorization)
        .header("content-length", 0);
    match request.send().await.map(|answer| answer.status().as_u16()) {
        Ok(404 | 410) => Ok(Pushed::Gone),
        Ok(200..=299) => Ok(Pushed::Taken),
        Ok(status @ 400..=499) if !matches!(status, 408 | 425 | 429) => {
            tracing::warn!(status, host = endpoint.0.host_str(), "push service rejected a push");
            Ok(Pushed::Refused)
        }
        Ok(status) => Err(format!("the push service answered {status}")),
        Err(_) => Err("the push service cannot be reached".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_must_be_https_and_on_the_list() {
        let mut config = Config::default();
        config.app.push_hosts.push("127.0.0.1:4711".to_owned());
        let reads = |text: &str| Endpoint::read(text, &config).is_some();
        for good in [
            "https://fcm.googleapis.com/fcm/send/abc",
            "https://updates.push.services.mozilla.com/wpush/v2/abc",
            "https://web.push.apple.com/QD",
            "https://wns2-par02p.notify.windows.com/w/?token=abc",
            "http://127.0.0.1:4711/push",
        ] {
            assert!(reads(good), "{good}");
        }
        let long = format!("https://fcm.googleapis.com/{}", "a".repeat(2048));
        for bad in [
            "http://fcm.googleapis.com/fcm/send/abc",
            "https://fcm.googleapis.com.thief.example/",
            "https://fcm.googleapis.com:8443/",
            "https://user@fcm.googleapis.com/",
            "https://fcm.googleapis.com/#x",
            "https://a.b.notify.windows.com/",
            "https://notify.windows.com/",
            "https://127.0.0.1/",
            "http://127.0.0.1:4712/push",
            "https://10.0.0.1/",
            "https://localhost/",
            "http://169.254.169.254/latest/meta-data",
            "file:///etc/passwd",
            "nonsense",
            "",
            &long,
        ] {
            assert!(!reads(bad), "{bad}");
        }
    }

    #[test]
    fn a_list_entry_matches_hosts_of_one_owner() {
        for good in ["fcm.googleapis.com", "*.notify.windows.com", "127.0.0.1:4711", "localhost"] {
            assert!(is_entry(good), "{good}");
        }
        for bad in
            ["*.com", "*", "", "FCM.googleapis.com", "https://fcm.googleapis.com", "a..b", "a.b:x", "*.*.b.c"]
        {
            assert!(!is_entry(bad), "{bad}");
        }
    }

    #[test]
    fn the_key_is_derived_from_the_root_and_signs_by_the_standard() {
        let keys = Keys::ephemeral();
        let (vapid, again) = (Vapid::of(&keys), Vapid::of(&keys));
        assert_eq!(vapid.public(), again.public());
        assert_ne!(vapid.public(), Vapid::of(&Keys::ephemeral()).public());
        let config = Config::default();
        let endpoint = Endpoint::read("https://fcm.googleapis.com/fcm/send/abc", &config).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let header = vapid.authorization(&endpoint, "https://verify.shop.example", now).unwrap();
        let (token, key) = header.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        assert_eq!(key, vapid.public());
        let point = URL_SAFE_NO_PAD.decode(key).unwrap();
        assert_eq!((point.len(), point[0]), (65, 4));
        let key = jsonwebtoken::DecodingKey::from_ec_components(
            &URL_SAFE_NO_PAD.encode(&point[1..33]),
            &URL_SAFE_NO_PAD.encode(&point[33..]),
        );
        let mut validation = jsonwebtoken::Validation::new(Algorithm::ES256);
        validation.set_audience(&["https://fcm.googleapis.com"]);
        validation.validate_exp = false;
        let read = jsonwebtoken::decode::<serde_json::Value>(token, &key.unwrap(), &validation).unwrap();
        assert_eq!(read.claims["exp"], 12 * 3600);
        assert_eq!(read.claims["sub"], "https://verify.shop.example");
    }
}
