//! The signature of an app's request: HTTP Message Signatures (RFC 9421) with one fixed profile, which leaves few
//! choices. Components `"@method" "@authority" "@path" "@query" "content-digest"` in this order; parameters `created`,
//! `nonce`, `keyid` and optionally `alg` with `ecdsa-p256-sha256`; one signature per request. `keyid` is the RFC 7638
//! thumbprint of the key. `content-digest` (RFC 9530) has one entry, `sha-256`, also without a body.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sfv::{BareItem, Dictionary, InnerList, Item, ListEntry, ListSerializer, Parser};
use sha2::{Digest, Sha256};

use crate::public_key::PublicKey;

/// The signed components, in order.
pub const COMPONENTS: [&str; 5] = ["@method", "@authority", "@path", "@query", "content-digest"];
/// The only algorithm (RFC 9421, 3.3.4).
pub const ALGORITHM: &str = "ecdsa-p256-sha256";
/// Allowed length of a nonce, in characters.
const NONCE_CHARS: std::ops::RangeInclusive<usize> = 16..=64;

/// The signed parts of a received request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    /// `GET`, `POST`, …
    pub method: &'r str,
    /// The host of our public URL, with the port if it is not the default of the scheme.
    pub authority: &'r str,
    /// The path.
    pub path: &'r str,
    /// The query, without `?`.
    pub query: Option<&'r str>,
    /// The body.
    pub body: &'r [u8],
    /// The header `Content-Digest`.
    pub content_digest: Option<&'r str>,
    /// The header `Signature-Input`.
    pub signature_input: Option<&'r str>,
    /// The header `Signature`.
    pub signature: Option<&'r str>,
}

/// Why the signature of a request is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// A header is missing.
    #[error("send the headers Content-Digest, Signature-Input and Signature")]
    Missing,
    /// `Signature-Input` or `Signature` does not follow the profile.
    #[error(
        "Signature-Input must name \"@method\" \"@authority\" \"@path\" \"@query\" \"content-digest\" in this order, then created, \
         nonce (16 to 64 of A-Z a-z 0-9 - _), keyid and, if you like, alg=\"ecdsa-p256-sha256\""
    )]
    Profile,
    /// `Signature` has another label, or is not a byte sequence.
    #[error("Signature must be LABEL=:…: with base64 of 64 bytes, and the label of Signature-Input")]
    Form,
    /// `keyid` names another key.
    #[error("keyid must be the thumbprint (RFC 7638) of the key that signs")]
    KeyId,
    /// The digest does not match the body.
    #[error("Content-Digest must be sha-256=:…: of the body as it is sent")]
    Digest,
    /// The signature does not match the key.
    #[error("the signature does not fit: check the signature base")]
    Wrong,
}

/// The signature parameters of a request. They are unverified until [`Claim::verify`] succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The thumbprint of the key.
    pub key: String,
    /// When it was signed, in seconds since 1970.
    pub created: i64,
    /// The nonce, unique for the key.
    pub nonce: String,
    base: String,
    signature: Vec<u8>,
}

impl Claim {
    /// Reads the headers of a request, and checks the digest of its body.
    pub fn read(request: &Request<'_>) -> Result<Self, BadSignature> {
        let (Some(digest), Some(input), Some(signature)) =
            (request.content_digest, request.signature_input, request.signature)
        else {
            return Err(BadSignature::Missing);
        };
        if digest != content_digest(request.body) {
            return Err(BadSignature::Digest);
        }
        let (label, list) = only_entry(input).ok_or(BadSignature::Profile)?;
        let ListEntry::InnerList(list) = list else { return Err(BadSignature::Profile) };
        if !names(&list).is_some_and(|names| names.iter().map(String::as_str).eq(COMPONENTS)) {
            return Err(BadSignature::Profile);
        }
        let (created, nonce, key) = parameters(&list).ok_or(BadSignature::Profile)?;
        let signature = match only_entry(signature) {
            Some((of, ListEntry::Item(Item { bare_item: BareItem::ByteSequence(bytes), .. })))
                if of == label =>
            {
                bytes
            }
            _ => return Err(BadSignature::Form),
        };
        let mut line = ListSerializer::new();
        let mut inner = line.inner_list();
        for item in &list.items {
            inner.bare_item(&item.bare_item);
        }
        inner.finish().parameters(&list.params);
        let line = line.finish().ok_or(BadSignature::Profile)?;
        let base = base(request, digest, &line);
        Ok(Self { key, created, nonce, base, signature })
    }

    /// Returns whether a key made the signature.
    pub fn verify(&self, key: &PublicKey) -> Result<(), BadSignature> {
        if key.thumbprint() != self.key {
            return Err(BadSignature::KeyId);
        }
        if key.fits(self.base.as_bytes(), &self.signature) { Ok(()) } else { Err(BadSignature::Wrong) }
    }
}

/// Returns the header `Content-Digest` of a body.
pub fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

/// The signature base (RFC 9421, 2.5).
fn base(request: &Request<'_>, digest: &str, parameters: &str) -> String {
    let Request { method, authority, path, query, .. } = request;
    let mut base = String::new();
    let query = format!("?{}", query.unwrap_or_default());
    let values = [*method, authority, path, &query, digest];
    for (name, value) in COMPONENTS.iter().zip(values) {
        let _ = writeln!(base, "\"{name}\": {value}");
    }
    let _ = write!(base, "\"@signature-params\": {parameters}");
    base
}

/// Returns the entry of a dictionary that has exactly one.
fn only_entry(text: &str) -> Option<(String, ListEntry)> {
    let all: Dictionary = Parser::new(text).parse().ok()?;
    let mut entries = all.into_iter();
    let (label, entry) = entries.next()?;
    entries.next().is_none().then(|| (label.to_string(), entry))
}

/// Returns the components of a list, or `None` if one has parameters.
fn names(list: &InnerList) -> Option<Vec<String>> {
    let name = |item: &Item| match &item.bare_item {
        BareItem::String(name) if item.params.is_empty() => Some(name.to_string()),
        _ => None,
    };
    list.items.iter().map(name).collect()
}

/// Returns `created`, `nonce` and `keyid`, or `None` if one is missing or invalid.
fn parameters(list: &InnerList) -> Option<(i64, String, String)> {
    let (mut created, mut nonce, mut key) = (None, None, None);
    for (name, value) in &list.params {
        match (name.as_str(), value) {
            ("created", BareItem::Integer(at)) => created = Some(i64::from(*at)),
            ("nonce", BareItem::String(text)) if is_nonce(text.as_str()) => nonce = Some(text.to_string()),
            ("keyid", BareItem::String(text)) if text.as_str().len() == 43 => key = Some(text.to_string()),
            ("alg", BareItem::String(text)) if text.as_str() == ALGORITHM => {}
            _ => return None,
        }
    }
    Some((created?, nonce?, key?))
}

fn is_nonce(text: &str) -> bool {
    NONCE_CHARS.contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    /// The key `test-key-ecc-p256` of RFC 9421, B.1.3.
    fn rfc_key() -> PublicKey {
        PublicKey::p256(
            "qIVYZVLCrPZHGHjP17CTW0_-D9Lfw0EkjqF7xB4FivA",
            "Mc4nN9LTDOBhfoUeg8Ye9WedFRhnZXZJA12Qp0zZ6F0",
        )
    }

    struct Signer(EcdsaKeyPair);

    impl Signer {
        fn new() -> Self {
            let random = SystemRandom::new();
            let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref()).unwrap())
        }

        fn key(&self) -> PublicKey {
            let point = self.0.public_key().as_ref();
            let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            PublicKey::p256(&part(&point[1..33]), &part(&point[33..]))
        }

        fn sign(&self, base: &str) -> String {
            let signature = self.0.sign(&SystemRandom::new(), base.as_bytes()).unwrap();
            format!("app=:{}:", STANDARD.encode(signature))
        }
    }

    fn parameters_of(key: &PublicKey) -> String {
        let names = COMPONENTS.map(|name| format!("\"{name}\"")).join(" ");
        format!("({names});created=1732800000;nonce=\"0123456789abcdef\";keyid=\"{}\"", key.thumbprint())
    }

    fn request<'r>(body: &'r [u8], digest: &'r str, input: &'r str, signature: &'r str) -> Request<'r> {
        Request {
            method: "POST",
            authority: "verify.shop.example",
            path: "/app/v1/requests",
            query: Some("wait=25"),
            body,
            content_digest: Some(digest),
            signature_input: Some(input),
            signature: Some(signature),
        }
    }

    #[test]
    fn the_thumbprint_and_the_digest_match_the_standards() {
        assert!(rfc_key().is_valid());
        // By Python's hashlib, over the JSON of RFC 7638, 3.
        assert_eq!(rfc_key().thumbprint(), "ydQXMtvbsOsZyFir-Y7A8t7fKEM1gbKPvyFkdpu4fvI");
        // RFC 9530, 2, and appendix A.
        assert_eq!(
            content_digest(b"{\"hello\": \"world\"}"),
            "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"
        );
        let (mut off_the_curve, mut other_curve) = (rfc_key(), rfc_key());
        off_the_curve.y = rfc_key().x;
        "P-384".clone_into(&mut other_curve.crv);
        assert!(!off_the_curve.is_valid() && !other_curve.is_valid());
    }

    #[test]
    fn a_signature_is_valid_only_for_its_request() {
        let signer = Signer::new();
        let key = signer.key();
        let (body, list) = (b"{\"digits\":\"481516\"}".as_slice(), parameters_of(&key));
        let (digest, input) = (content_digest(body), format!("app={list}"));
        let base = format!(
            "\"@method\": POST\n\"@authority\": verify.shop.example\n\"@path\": /app/v1/requests\n\"@query\": ?wait=25\n\
             \"content-digest\": {digest}\n\"@signature-params\": {list}"
        );
        let signature = signer.sign(&base);
        let good = request(body, &digest, &input, &signature);
        let claim = Claim::read(&good).unwrap();
        assert_eq!((claim.created, claim.nonce.as_str()), (1_732_800_000, "0123456789abcdef"));
        assert_eq!(claim.verify(&key), Ok(()));
        let other = Signer::new().key();
        assert_eq!(claim.verify(&other), Err(BadSignature::KeyId), "another key");
        let changed = [
            Request { method: "GET", ..good },
            Request { authority: "verify.thief.example", ..good },
            Request { path: "/app/v1/key", ..good },
            Request { query: None, ..good },
            Request { query: Some("wait=26"), ..good },
        ];
        for request in changed {
            assert_eq!(Claim::read(&request).unwrap().verify(&key), Err(BadSignature::Wrong), "{request:?}");
        }
        let later = input.replace("created=1732800000", "created=1732800001");
        let later = Request { signature_input: Some(&later), ..good };
        assert_eq!(Claim::read(&later).unwrap().verify(&key), Err(BadSignature::Wrong));
        let body = Request { body: b"{\"digits\":\"481517\"}", ..good };
        assert_eq!(Claim::read(&body), Err(BadSignature::Digest));
    }

    /// The blocks of `docs/two-step.md`: key, signature base, headers.
    #[test]
    fn the_example_for_native_developers_is_valid() {
        let docs = include_str!("../../docs/two-step.md");
        let section = docs.split_once("A signature to check yours against.").unwrap().1;
        let block =
            |n: usize| section.split("```").nth(2 * n + 1).unwrap().split_once('\n').unwrap().1.trim_end();
        let key: serde_json::Value = serde_json::from_str(block(0)).unwrap();
        let key = PublicKey::p256(key["x"].as_str().unwrap(), key["y"].as_str().unwrap());
        let header = |name: &str| {
            block(2).lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap()
        };
        let request = Request {
            method: "GET",
            authority: "verify.shop.example",
            path: "/app/v1/account",
            query: None,
            body: b"",
            content_digest: Some(header("Content-Digest")),
            signature_input: Some(header("Signature-Input")),
            signature: Some(header("Signature")),
        };
        let claim = Claim::read(&request).unwrap();
        assert_eq!(claim.base, block(1));
        assert_eq!(claim.verify(&key), Ok(()));
    }

    #[test]
    fn requests_outside_the_profile_are_refused() {
        let signer = Signer::new();
        let list = parameters_of(&signer.key());
        let digest = content_digest(b"");
        let signature = signer.sign("x");
        let with_alg = format!("sig1={list};alg=\"ecdsa-p256-sha256\"");
        let named = signature.replace("app=", "sig1=");
        assert!(Claim::read(&request(b"", &digest, &with_alg, &named)).is_ok(), "any label, and alg");
        let bad = [
            format!("app={}", list.replace("\"@method\" ", "")),
            format!("app={}", list.replace("\"@method\" \"@authority\"", "\"@authority\" \"@method\"")),
            format!("app={}", list.replace("\"@path\"", "\"@path\";req")),
            format!("app={}", list.replace(";nonce=\"0123456789abcdef\"", "")),
            format!("app={}", list.replace("0123456789abcdef", "short")),
            format!("app={}", list.replace("0123456789abcdef", "0123456789abcde;")),
            format!("app={}", list.replace("created=1732800000", "created=\"1732800000\"")),
            format!("app={list};alg=\"hmac-sha256\""),
            format!("app={list};expires=9999999999"),
            format!("app={list}, app2={list}"),
            list.clone(),
            String::new(),
            "app=\u{fc}".to_owned(),
        ];
        for input in bad {
            assert_eq!(
                Claim::read(&request(b"", &digest, &input, &signature)),
                Err(BadSignature::Profile),
                "{input}"
            );
        }
        let unlabelled = Claim::read(&request(b"", &digest, &format!("other={list}"), &signature));
        assert_eq!(unlabelled, Err(BadSignature::Form));
        let none = Request { signature: None, ..request(b"", &digest, &with_alg, &named) };
        assert_eq!(Claim::read(&none), Err(BadSignature::Missing));
    }
}
