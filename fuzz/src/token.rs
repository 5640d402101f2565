//! A callback's path, `<attempt>` and `<token>` on two lines: an attempt has one spelling, and only its own
//! token is valid.

use otpost::domain::attempt::AttemptId;
use otpost::seal::{Keys, Root};

use super::lines::first_of;

/// Fails if tokens of the previous root are refused (`of_the_previous_root`).
pub fn holds(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (attempt, token) = first_of(text);
    let Ok(id) = attempt.parse::<AttemptId>() else { return };
    assert_eq!(id.to_string(), attempt);

    let root = |kid, byte: &str| Root::from_hex(kid, &byte.repeat(32)).expect("a root");
    let keys = Keys::new(root("k1", "0a"), vec![root("k0", "0b")], &root("k1", "0a"));
    let old = Keys::new(root("k0", "0b"), vec![], &root("k0", "0b"));
    let (own, before) = (keys.callback_token("c1", id), old.callback_token("c1", id));
    assert_eq!(keys.token_is_good("c1", id, token), [&own, &before].iter().any(|good| *good == token));
    assert!(keys.token_is_good("c1", id, &own) && keys.token_is_good("c1", id, &before));
    assert!(!keys.token_is_good("c2", id, &own) && !old.token_is_good("c1", id, &own));
}
