use jiff::Timestamp;
use serde_json::{Value, json};

use super::{BadMessage, Job, Kind};
use crate::seal::Keys;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn good() -> Value {
    json!({"id": "0192f0c1-2222-4333-8444-555566667777", "to": "+447700900123", "code": "481516",
           "expires_at": "2026-01-01T00:05:00Z"})
}

fn decode(v: &Value) -> Result<Job, BadMessage> {
    Job::decode(v.to_string().as_bytes(), None, &Keys::ephemeral(), now())
}

#[test]
fn the_shortest_job_has_the_documented_defaults() {
    let job = decode(&good()).unwrap();
    assert_eq!((job.tenant.as_str(), job.template.as_str(), job.fallback_after_s), ("default", "code", 30));
    assert_eq!(job.plan, crate::domain::dispatch::Plan::default());
}

#[test]
fn every_bad_field_is_named_and_no_value_is_quoted() {
    let cases = [
        ("id", json!("QUOTED")),
        ("to", json!("07700QUOTED")),
        ("to", json!(447_700)),
        ("code", json!("48 15 16")),
        ("code", json!("QUOTED-QUOTED")),
        ("expires_at", json!("QUOTED")),
        ("expires_at", json!("2026-01-01T02:00:00Z")),
        ("channels", json!(["sms", "QUOTED"])),
        ("channels", json!([])),
        ("fallback_after_s", json!(-1)),
        ("template", json!("QUOTED/../x")),
        ("locale", json!("QUOTED QUOTED")),
        ("tags", json!({"a": "x\u{0}QUOTED"})),
        ("tags", json!({"a": 1})),
        ("params", json!({"a": {"QUOTED": 1}})),
        ("params.origin", json!("https://QUOTED")),
        ("params.token", json!("QUOTED QUOTED")),
        ("client_ip", json!("QUOTED")),
        ("supersedes", json!("QUOTED")),
        ("sealed", json!("v1.QUOTED")),
        ("tenant", json!("QUOTED!")),
        ("surprise", json!("QUOTED")),
    ];
    for (field, value) in cases {
        let mut job = good();
        match field.split_once('.') {
            Some((outer, inner)) => job[outer] = json!({ inner: value }),
            None => job[field] = value,
        }
        let e = decode(&job).unwrap_err();
        assert_eq!(e.field, field, "{e}");
        assert!(!e.to_string().contains("QUOTED"), "{e}");
    }
    for body in ["", "[1]", "{\"id\":", "nonsense QUOTED", "{\"id\":1,\"id\":2}"] {
        let e = Job::decode(body.as_bytes(), None, &Keys::ephemeral(), now()).unwrap_err();
        assert_eq!(e.field, "body", "{body}");
        assert!(!e.to_string().contains("QUOTED"), "{e}");
    }
}

#[test]
fn a_byte_order_mark_before_a_job_is_ignored() {
    let keys = Keys::ephemeral();
    let read = |v: &Value| Job::decode(format!("\u{feff}{v}").as_bytes(), None, &keys, now()).unwrap();
    let plain = read(&good());
    let secret = "\u{feff}{\"to\": \"+447700900123\", \"code\": \"481516\"}";
    let sealed = keys.seal_job("default", plain.id, plain.expires_at, secret.as_bytes());
    let sealed = json!({"id": plain.id, "expires_at": plain.expires_at, "sealed": sealed});
    assert_eq!(read(&sealed).content, plain.content);
}

#[test]
fn a_job_without_a_code_names_a_template() {
    let mut job = good();
    job["code"] = Value::Null;
    assert_eq!(decode(&job).unwrap_err(), BadMessage::new("code", "is missing"));
    job["template"] = json!("code");
    assert_eq!(decode(&job).unwrap_err(), BadMessage::new("code", "is missing"));
    job["template"] = json!("two_step_notice");
    let notice = decode(&job).unwrap();
    assert_eq!((notice.code.is_none(), notice.kind()), (true, Kind::Notice));
    job["code"] = json!("481516");
    assert_eq!(decode(&job).unwrap().kind(), Kind::Code);
}

#[test]
fn an_origin_is_a_host_name_and_a_token_fits_a_link() {
    let (label, long) = ("a".repeat(63), format!("{}.com", ["a"; 125].join(".")));
    assert_eq!(long.len(), 253);
    let with = |name: &str, value: Value| {
        let mut job = good();
        job["params"] = json!({ name: value });
        decode(&job).map(|job| job.params[name].clone())
    };
    for host in
        ["verify.shop.example", "localhost", "xn--bcher-kva.example", "a-b.C9", "1.2.3.4", &label, &long]
    {
        assert_eq!(with("origin", json!(host)), Ok(json!(host)));
    }
    let (label, long) = ("a".repeat(64), format!("{long}m"));
    for bad in [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "-a",
        "a-",
        "a.-b",
        "a_b",
        "a b",
        "a:443",
        "https://a",
        "a/b",
        "bücher.example",
        "a\n",
        "@a",
        "a#b",
        "a@b",
        &label,
        &long,
    ] {
        let e = with("origin", json!(bad)).unwrap_err();
        assert_eq!(e.field, "params.origin", "{bad}");
        assert!(e.rule.starts_with("must be a host name"), "{e}");
    }
    assert_eq!(with("origin", json!(7)).unwrap_err().field, "params.origin");
    for token in ["x", &"x".repeat(64), "c3RvcC10aGlzLXRva2VuLWlzLTMyLWJ5dGVzLWxvbmc", "-_"] {
        assert!(with("token", json!(token)).is_ok(), "{token}");
    }
    for bad in
        [json!(""), json!("x".repeat(65)), json!("a/b"), json!("a.b"), json!("a b"), json!("a="), json!(7)]
    {
        assert_eq!(with("token", bad).unwrap_err().field, "params.token");
    }
    // Other params keep the usual maximum length.
    assert_eq!(with("other", json!("x".repeat(33))).unwrap_err().field, "params");
}

#[test]
fn own_fields_begin_with_x() {
    let mut job = good();
    job["x_trace"] = json!({"any": ["thing"]});
    assert!(decode(&job).is_ok());
}

#[test]
fn the_same_content_is_the_same_whatever_the_expiry_and_the_sealing() {
    let keys = Keys::ephemeral();
    let read = |v: &Value| Job::decode(v.to_string().as_bytes(), None, &keys, now()).unwrap();
    let plain = good();
    let mut later = good();
    later["expires_at"] = json!("2026-01-01T00:06:00Z");
    let mut other = good();
    other["code"] = json!("999999");
    let at: Timestamp = "2026-01-01T00:05:00Z".parse().unwrap();
    let id = read(&plain).id;
    let secret = json!({"to": "+447700900123", "code": "481516"}).to_string();
    let sealed = json!({"id": id, "expires_at": "2026-01-01T00:05:00Z",
                        "sealed": keys.seal_job("default", id, at, secret.as_bytes())});
    assert_eq!(read(&plain).content, read(&later).content);
    assert_eq!(read(&plain).content, read(&sealed).content);
    assert_ne!(read(&plain).content, read(&other).content);
}
