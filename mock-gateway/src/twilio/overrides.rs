//! Connection overrides: a URL's fragment tunes how Twilio calls it (documentation page "Webhooks (HTTP
//! callbacks): Connection Overrides"). Example: `https://example.com/cb#rc=2&rt=5000&rp=all`.

use std::time::Duration;

use crate::callbacks::{Failure, RetryPolicy};

/// Parses a fragment, which may be empty. The error names the wrong part.
pub(super) fn read(fragment: &str) -> Result<RetryPolicy, String> {
    // The default of `rp` is unverified.
    let mut retry_policy = RetryPolicy {
        retries: 1,
        retry_on: vec![Failure::Connect],
        connect: Duration::from_secs(5),
        read: Duration::from_secs(15),
        total: Duration::from_secs(15),
    };
    for pair in fragment.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "rc" => retry_policy.retries = number(key, value, 0, 5)? as u8,
            "ct" => retry_policy.connect = Duration::from_millis(number(key, value, 100, 10_000)?),
            "rt" => retry_policy.read = Duration::from_millis(number(key, value, 100, 15_000)?),
            "tt" => retry_policy.total = Duration::from_millis(number(key, value, 100, 15_000)?),
            "rp" => retry_policy.retry_on = policy(value)?,
            // Unknown parts of a fragment are ignored.
            _ => {}
        }
    }
    Ok(retry_policy)
}

fn number(key: &str, value: &str, least: u64, most: u64) -> Result<u64, String> {
    let number = value.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("{key}={value} is not a number from {least} to {most}"))
}

/// The words are unverified.
fn policy(value: &str) -> Result<Vec<Failure>, String> {
    let mut all = Vec::new();
    for word in value.split(',') {
        match word {
            "4xx" => all.push(Failure::Refused),
            "5xx" => all.push(Failure::Broken),
            "ct" => all.push(Failure::Connect),
            "rt" => all.push(Failure::Read),
            "all" => all.extend([Failure::Refused, Failure::Broken, Failure::Connect, Failure::Read]),
            _ => return Err(format!("rp={value} is none of 4xx, 5xx, ct, rt, all")),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_fragment_only_a_failed_connection_is_retried_once() {
        let retry_policy = read("").unwrap();
        assert_eq!((retry_policy.retries, retry_policy.retry_on), (1, vec![Failure::Connect]));
    }

    #[test]
    fn every_key_applies_and_unknown_keys_are_ignored() {
        let retry_policy = read("rc=2&rp=4xx,5xx&ct=100&rt=2000&tt=3000&edge=dublin").unwrap();
        assert_eq!(
            (retry_policy.retries, retry_policy.retry_on),
            (2, vec![Failure::Refused, Failure::Broken])
        );
        let millis =
            [retry_policy.connect, retry_policy.read, retry_policy.total].map(|time| time.as_millis());
        assert_eq!(millis, [100, 2000, 3000]);
    }

    #[test]
    fn values_out_of_range_are_errors() {
        for fragment in ["rc=6", "rc=-1", "rc=", "ct=99", "rt=15001", "tt=x", "rp=3xx", "rp="] {
            assert!(read(fragment).is_err(), "{fragment}");
        }
    }
}
