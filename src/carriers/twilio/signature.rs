//! The signature of Twilio's callbacks.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use subtle::ConstantTimeEq;

/// Returns whether a callback to this URL was signed with one of the tokens.
pub(super) fn is_signed<'t>(
    given: &[u8], mut tokens: impl Iterator<Item = &'t SecretString>, url: &str, form: &[(String, String)],
) -> bool {
    // Some senders sign the URL with the standard port, others without.
    let urls = spellings(url);
    tokens.any(|token| {
        let token = token.expose_secret();
        urls.iter().any(|url| signature(token, url, form).as_bytes().ct_eq(given).into())
    })
}

/// Returns `X-Twilio-Signature`: HMAC-SHA1 over the URL and the form's distinct names, sorted, each with its distinct values,
/// sorted (twilio-python, `request_validator.py`).
pub(super) fn signature(token: &str, url: &str, form: &[(String, String)]) -> String {
    let mut sorted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in form {
        sorted.entry(name).or_default().insert(value);
    }
    let mut mac = Hmac::<Sha1>::new_from_slice(token.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(url.as_bytes());
    for (name, values) in sorted {
        for value in values {
            mac.update(name.as_bytes());
            mac.update(value.as_bytes());
        }
    }
    BASE64.encode(mac.finalize().into_bytes())
}

/// Returns the URL as it is, without its port, and with the standard port (twilio-python, `request_validator.py`).
fn spellings(url: &str) -> Vec<String> {
    let mut all = vec![url.to_owned()];
    for (scheme, port) in [("https://", ":443"), ("http://", ":80")] {
        let Some(rest) = url.strip_prefix(scheme) else {
            continue;
        };
        let (host, path) = rest.find(['/', '?']).map_or((rest, ""), |i| rest.split_at(i));
        // An address of IPv6 has colons of its own, and ends with a bracket.
        let own_port = host.rfind(':').filter(|at| !host[*at..].contains(']'));
        match own_port {
            Some(at) => all.push(format!("{scheme}{}{path}", &host[..at])),
            None => all.push(format!("{scheme}{host}{port}{path}")),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    /// Test vectors of the official library.
    #[test]
    fn signatures_are_those_of_the_official_library() {
        let params = form(&[
            ("CallSid", "CA1234567890ABCDE"),
            ("Digits", "1234"),
            ("From", "+14158675309"),
            ("To", "+18005551212"),
            ("Caller", "+14158675309"),
        ]);
        for (url, expected) in [
            ("https://mycompany.com/myapp.php?foo=1&bar=2", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
            ("https://mycompany.com:443/myapp.php?foo=1&bar=2", "kvajT1Ptam85bY51eRf/AJRuM3w="),
            ("http://mycompany.com:80/myapp.php?foo=1&bar=2", "0ZXoZLH/DfblKGATFgpif+LLRf4="),
            ("http://mycompany.com:1234/myapp.php?foo=1&bar=2", "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
        ] {
            assert_eq!(signature("12345", url, &params), expected, "{url}");
        }
        let repeated = form(&[
            ("Sid", "CA123"),
            ("SidAccount", "AC123"),
            ("Digits", "5678"),
            ("Digits", "1234"),
            ("Digits", "1234"),
        ]);
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        assert_eq!(signature("12345", url, &repeated), "IK+Dwps556ElfBT0I3Rgjkr1wJU=");
    }

    #[test]
    fn a_port_may_be_signed_or_not() {
        for (url, also) in [
            ("https://a.example/x", "https://a.example:443/x"),
            ("https://a.example:443/x", "https://a.example/x"),
            ("https://a.example:8443/x?a=b:1", "https://a.example/x?a=b:1"),
            ("http://[2001:db8::1]/x", "http://[2001:db8::1]:80/x"),
            ("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]/x"),
        ] {
            assert_eq!(spellings(url), [url, also]);
        }
    }
}
