//! pyotp as the authenticator app: it reads our URI, and both accept each other's codes.

use jiff::Timestamp;
use serde_json::json;
use two_step::code::SecretText;
use two_step::totp::{Checked, STEP_S, at_step, base32, check, random_key, uri};

use crate::python;

/// Issuers and account names, as products and users have them.
const NAMES: [(&str, &str); 5] = [
    ("Shop", "ada"),
    ("Käse & Co: Shop", "u/1 x"),
    ("100% + more #1?", "ada+phone@shop.example"),
    ("店", "Zoë 🦊"),
    ("a=b&secret=c", "x&issuer=y"),
];
/// Keys of the codes.
const KEYS: usize = 20;

/// Times at the edges of steps, of 31 and 32 bits, and spread over some years.
fn times() -> Vec<i64> {
    let edges = [0, 29, 30, 59, 60, 1_234_567_890, i64::from(i32::MAX), i64::from(u32::MAX), 20_000_000_000];
    let around = edges.iter().flat_map(|t| [*t, t + 1, t + 29]);
    around.chain((0..200).map(|n| 1_700_000_000 + n * 1_000_003)).collect()
}

#[test]
fn pyotp_reads_the_uri_and_computes_the_same_codes() {
    let keys: Vec<_> = (0..KEYS).map(|_| random_key()).collect();
    let apps: Vec<_> = keys
        .iter()
        .zip(NAMES.iter().cycle())
        .map(|(key, (issuer, name))| {
            let ours: Vec<String> = times().iter().map(|t| at_step(&**key, t / STEP_S)).collect();
            json!({"uri": *uri(&**key, issuer, name), "times": times(), "codes": ours})
        })
        .collect();
    let read = python("make_codes.py", &json!(apps));
    assert_eq!(read.as_array().unwrap().len(), KEYS);
    for ((key, (issuer, name)), app) in keys.iter().zip(NAMES.iter().cycle()).zip(read.as_array().unwrap()) {
        assert_eq!(app["secret"], **base32(&**key));
        assert_eq!(app["issuer"], issuer.replace(':', " "));
        assert_eq!(app["name"], name.replace(':', " "));
        assert_eq!((&app["digits"], &app["interval"]), (&json!(6), &json!(30)));
        assert_eq!(app["taken"], json!(times().len()), "pyotp accepts our codes at their times");
        // Two steps share a code once in a million.
        assert!(app["taken_a_step_later"].as_u64().unwrap() < 2, "and does not accept them a step later");
        for (time, code) in times().iter().zip(app["codes"].as_array().unwrap()) {
            let now = Timestamp::from_second(*time).unwrap();
            let code = SecretText::from_kept(code.as_str().unwrap());
            let step = time / STEP_S;
            assert_eq!(check(&**key, &code, None, 0, now), Checked::Right { step }, "{time}");
        }
    }
}
