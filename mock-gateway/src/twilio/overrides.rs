//! Connection overrides: a URL's fragment tunes how Twilio calls it (documentation page "Webhooks (HTTP
//! callbacks): Connection Overrides"). Example: `https://example.com/cb#rc=2&rt=5000&rp=all`.

use std::time::Duration;

use crate::courier::{Patience, Trouble};

/// Read a fragment, which may be empty. The error says what is wrong with it.
pub(super) fn read(fragment: &str) -> Result<Patience, String> {
    // The default of `rp` is unverified.
    let mut patience = Patience {
        retries: 1,
        retry_on: vec![Trouble::Connect],
        connect: Duration::from_secs(5),
        read: Duration::from_secs(15),
        total: Duration::from_secs(15),
    };
    for pair in fragment.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "rc" => patience.retries = number(key, value, 0, 5)? as u8,
            "ct" => patience.connect = Duration::from_millis(number(key, value, 100, 10_000)?),
            "rt" => patience.read = Duration::from_millis(number(key, value, 100, 15_000)?),
            "tt" => patience.total = Duration::from_millis(number(key, value, 100, 15_000)?),
            "rp" => patience.retry_on = policy(value)?,
            // A fragment may mean something to somebody else.
            _ => {}
        }
    }
    Ok(patience)
}

fn number(key: &str, value: &str, least: u64, most: u64) -> Result<u64, String> {
    let number = value.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("{key}={value} is not a number from {least} to {most}"))
}

/// The words are unverified.
fn policy(value: &str) -> Result<Vec<Trouble>, String> {
    let mut all = Vec::new();
    for word in value.split(',') {
        match word {
            "4xx" => all.push(Trouble::Refused),
            "5xx" => all.push(Trouble::Broken),
            "ct" => all.push(Trouble::Connect),
            "rt" => all.push(Trouble::Read),
            "all" => all.extend([Trouble::Refused, Trouble::Broken, Trouble::Connect, Trouble::Read]),
            _ => return Err(format!("rp={value} is none of 4xx, 5xx, ct, rt, all")),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_fragment_only_connection_trouble_is_retried_once() {
        let patience = read("").unwrap();
        assert_eq!((patience.retries, patience.retry_on), (1, vec![Trouble::Connect]));
    }

    #[test]
    fn every_key_is_honoured_and_strangers_are_ignored() {
        let patience = read("rc=2&rp=4xx,5xx&ct=100&rt=2000&tt=3000&edge=dublin").unwrap();
        assert_eq!((patience.retries, patience.retry_on), (2, vec![Trouble::Refused, Trouble::Broken]));
        let millis = [patience.connect, patience.read, patience.total].map(|time| time.as_millis());
        assert_eq!(millis, [100, 2000, 3000]);
    }

    #[test]
    fn values_out_of_range_are_errors() {
        for fragment in ["rc=6", "rc=-1", "rc=", "ct=99", "rt=15001", "tt=x", "rp=3xx", "rp="] {
            assert!(read(fragment).is_err(), "{fragment}");
        }
    }
}
