//! The body of a job, as a worker reads it from the broker. A parsed job keeps the documented bounds. It can
//! be written again, plain or sealed, with the same content. An error quotes no value.
//!
//! A `sealed` that does not begin with `v1.` is sealed here first, as a producer with the key could do it.

use std::sync::LazyLock;

use jiff::Timestamp;
use otpost::config::Config;
use otpost::config::live::Live;
use otpost::domain::dispatch::Code;
use otpost::domain::restrictions::Restrictions;
use otpost::intake::admission::{Admitter, Ingress};
use otpost::intake::{BadMessage, Job};
use otpost::messages::Templates;
use otpost::seal::{Keys, Root};
use serde_json::{Value, json};

/// The tenant `strict` accepts only sealed jobs.
const CONFIG: &str = "[tenants.shop]\n[tenants.strict]\nrequire_sealed = true\n";

/// The root of the sealed form's test vector.
static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let hex: String = (0..32u8).map(|b| format!("{b:02x}")).collect();
    let root = Root::from_hex("k1", &hex).expect("a root");
    Keys::new(root.clone(), vec![], &root)
});
static ADMITTER: LazyLock<Admitter> = LazyLock::new(|| {
    let config = Config::parse(CONFIG).expect("a configuration");
    Admitter::new(
        KEYS.clone(),
        config,
        Templates::load(None).expect("templates"),
        Live::new(Restrictions::default()),
    )
});

fn now() -> Timestamp {
    "2027-01-15T07:55:00Z".parse().expect("a time")
}

/// Fails if the mask hides no digits (`shortest`).
pub fn holds(input: &[u8]) {
    read(input);
    if let Some(sealed) = sealed(input) {
        read(sealed.as_bytes());
    }
}

fn decode(body: &[u8]) -> Result<Job, BadMessage> {
    ADMITTER.decode(body, None, now())
}

fn read(body: &[u8]) {
    let job = match decode(body) {
        Ok(job) => job,
        Err(bad) => return quotes_nothing(&bad),
    };
    is_bounded(&job);
    let (plain, sealed) = written(&job);
    let again = decode(sealed.to_string().as_bytes()).expect("it can be written again, sealed");
    assert!(again.was_sealed && again.content == job.content);
    if job.tenant != "strict" {
        let again = decode(plain.to_string().as_bytes()).expect("it can be written again");
        assert!(!again.was_sealed && again.content == job.content);
    }

    let mut admission = ADMITTER.admission(&job, Ingress::Amqp, None, now());
    // Tags are the producer's own text, and stored unchanged.
    assert_eq!(std::mem::take(&mut std::sync::Arc::make_mut(&mut admission.order).tags), job.tags);
    let kept = format!("{admission:?}");
    assert!(!kept.contains(job.to.expose()), "the number is stored in plain text");
    assert!(!admission.order.mask.contains(&job.to.expose()[3..]));
}

fn is_bounded(job: &Job) {
    assert!((8..=16).contains(&job.to.expose().len()));
    assert!(job.code.as_ref().is_none_or(|code| (4..=10).contains(&code.expose().len())));
    assert!(job.expires_at.duration_since(now()).as_secs() <= 3660);
    assert!((1..=4).contains(&job.plan.len()) && job.fallback_after_s <= 3600);
    for name in [&job.tenant, &job.template] {
        let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b));
        assert!(plain && (1..=64).contains(&name.len()), "{name}");
    }
    assert!(job.params.len() <= 8 && job.tags.len() <= 10);
    let origin = job.params.get("origin").and_then(Value::as_str);
    assert!(origin.is_none_or(|host| (1..=253).contains(&host.len()) && host.is_ascii()), "{origin:?}");
    let words =
        job.params.iter().filter(|(name, _)| *name != "origin").filter_map(|(_, value)| value.as_str());
    let texts = job
        .tags
        .iter()
        .flat_map(|(name, value)| [name.as_str(), value])
        .chain(words)
        .chain(job.locale.as_deref());
    for text in texts {
        assert!((1..=128).contains(&text.chars().count()) && !text.chars().any(char::is_control), "{text:?}");
    }
    let printed = format!("{job:?} {:?} {:?}", job.to, job.code);
    assert!(!printed.contains(job.to.expose()));
}

/// Returns the job as a producer would write it, plain and sealed.
fn written(job: &Job) -> (Value, Value) {
    let mut secret =
        json!({"to": job.to.expose(), "code": job.code.as_ref().map(Code::expose), "params": job.params});
    if let Some(ip) = job.client_ip {
        secret["client_ip"] = json!(ip);
    }
    let channels: Vec<&str> = job.plan.channels().iter().map(|c| c.as_str()).collect();
    let mut sealed = json!({
        "id": job.id, "tenant": job.tenant, "expires_at": job.expires_at.to_string(), "channels": channels,
        "fallback_after_s": job.fallback_after_s, "template": job.template, "locale": job.locale, "tags": job.tags,
    });
    if let Some(s) = &job.supersedes {
        (sealed["supersedes"], sealed["issued_at"]) = (json!(s.key), json!(s.issued_at.to_string()));
    }
    let mut plain = sealed.clone();
    for (name, value) in secret.as_object().expect("an object") {
        plain[name] = value.clone();
    }
    sealed["sealed"] =
        json!(KEYS.seal_job(&job.tenant, job.id, job.expires_at, secret.to_string().as_bytes()));
    (plain, sealed)
}

/// Seals the content of `sealed`, if possible.
fn sealed(input: &[u8]) -> Option<String> {
    let mut job: Value = serde_json::from_slice(input).ok()?;
    let inner = match job.get("sealed")? {
        Value::String(text) if text.starts_with("v1.") => return None,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let tenant = job.get("tenant").and_then(Value::as_str).unwrap_or("default");
    let (id, at) = (job.get("id")?.as_str()?.parse().ok()?, job.get("expires_at")?.as_str()?.parse().ok()?);
    let text = KEYS.seal_job(tenant, id, at, inner.as_bytes());
    job["sealed"] = json!(text);
    Some(job.to_string())
}

/// Asserts that a reason contains no value of the input, such as a number or a code.
pub(crate) fn quotes_nothing(bad: &BadMessage) {
    // The example number of the rule.
    let text = bad.to_string().replace("+447700900123", "");
    assert!(text.len() < 200 && !text.chars().any(char::is_control), "{text:?}");
    let digits = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
    assert!(digits <= Some(6), "{text:?}");
    assert!(text.is_ascii() || text.chars().all(|c| c.is_ascii() || c == '…'), "{text:?}");
}
