//! `PyJWT` verifies results with the published keys, and refuses forgeries.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use two_step::challenge::{Acr, Challenge, Proof, Purpose};
use two_step::clock::{before, machine_now};
use two_step::result::{Claims, SigningKey, generate, jwks};
use uuid::Uuid;

use crate::python;

/// A published key, and its private half.
struct Signer {
    id: Uuid,
    private: zeroize::Zeroizing<Vec<u8>>,
    published: SigningKey,
}

impl Signer {
    fn new() -> Self {
        let (private, public) = generate();
        let (id, at) = (Uuid::now_v7(), Timestamp::UNIX_EPOCH);
        let published = SigningKey {
            id,
            public,
            sealed: String::new(),
            created_at: at,
            signs_from: at,
            retired_at: None,
        };
        Self { id, private, published }
    }

    /// Signs a result for a product at a time. `kid` is the key id in the header.
    fn result(&self, product: &str, at: Timestamp, kid: Uuid) -> String {
        let (id, account) = (Uuid::now_v7(), Uuid::now_v7());
        let mut challenge = Challenge::new(id, account, Purpose::SignIn, Duration::from_secs(600), at);
        challenge.nonce = Some("n-1".to_owned());
        challenge.verify(Proof::Sms, Acr::Second, at);
        let claims = Claims::of(&challenge, "https://verify.example", product, "u-1", at, false).unwrap();
        claims.sign(kid, &self.private).unwrap()
    }
}

#[test]
fn pyjwt_accepts_a_result_and_refuses_forgeries() {
    let (ours, stranger, now) = (Signer::new(), Signer::new(), machine_now());
    // A key that is published a day ahead is first in the list.
    let ahead = Signer::new();
    let keys = jwks(&[ahead.published, ours.published.clone()]);
    let asked = json!({
        "jwks": keys, "product": "shop", "issuer": "https://verify.example", "user": "u-1",
        "good": ours.result("shop", now, ours.id),
        "another product's": ours.result("other", now, ours.id),
        "expired": ours.result("shop", before(now, Duration::from_secs(61)), ours.id),
        "signed by a stranger": stranger.result("shop", now, ours.id),
        "under the stranger's name": stranger.result("shop", now, stranger.id),
    });
    let outcomes = python("check_results.py", &asked);
    assert_eq!(
        outcomes,
        json!({
            "good": "taken: sms, n-1",
            "another product's": "InvalidAudienceError",
            "expired": "ExpiredSignatureError",
            "signed by a stranger": "InvalidSignatureError",
            "under the stranger's name": "no such key",
            "other claims": "InvalidSignatureError",
            "other signature": "InvalidSignatureError",
            "signature of another result": "InvalidSignatureError",
            "without signature": "InvalidSignatureError",
            "alg none": "InvalidAlgorithmError",
            "HS256 with the public key (PEM)": "InvalidAlgorithmError",
            "HS256 with the public key (DER)": "InvalidAlgorithmError",
            "HS256 with the public key (JWK)": "InvalidAlgorithmError",
        })
    );
}
