//! Compares the job's schema with its parser, and lists the rules that a schema cannot express.

use jiff::Timestamp;
use jsonschema::Validator;
use otpost::http::contracts::Contract;
use otpost::intake::{Act, Job, Verb};
use otpost::seal::Keys;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::validator;

const ID: &str = "0192f0c1-2222-4333-8444-555566667777";
const ENDS: &str = "2026-12-01T12:05:00Z";

fn now() -> Timestamp {
    "2026-12-01T12:00:00Z".parse().unwrap()
}

/// Schema and parser.
struct SchemaAndParser {
    schema: Validator,
    keys: Keys,
}

impl SchemaAndParser {
    fn new() -> Self {
        Self { schema: validator(&Contract::Job.document()), keys: Keys::ephemeral() }
    }

    fn schema_accepts(&self, body: &str) -> bool {
        serde_json::from_str(body).is_ok_and(|job: Value| self.schema.is_valid(&job))
    }

    fn parser_accepts(&self, body: &str) -> Result<(), String> {
        Job::decode(body.as_bytes(), None, &self.keys, now()).map(drop).map_err(|e| e.to_string())
    }

    fn both(&self, job: &Value, take: bool) {
        let body = job.to_string();
        let parser = self.parser_accepts(&body);
        assert_eq!(parser.is_ok(), take, "the parser returns {parser:?} to {body}");
        let schema: Vec<_> = self.schema.iter_errors(job).map(|e| e.to_string()).collect();
        assert_eq!(schema.is_empty(), take, "the schema returns {schema:?} to {body}");
    }

    fn sealed(&self, inside: &Value) -> Value {
        let (id, ends) = (ID.parse().unwrap(), ENDS.parse().unwrap());
        let sealed = self.keys.seal_job("default", id, ends, inside.to_string().as_bytes());
        json!({"id": ID, "expires_at": ENDS, "sealed": sealed})
    }
}

fn plain() -> Value {
    json!({"id": ID, "to": "+447700900123", "code": "481516", "expires_at": ENDS})
}

fn with(mut job: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        job[name] = value.clone();
    }
    job
}

fn without(mut job: Value, name: &str) -> Value {
    job.as_object_mut().unwrap().remove(name);
    job
}

fn many(count: usize, value: &Value) -> Value {
    (0..count).map(|n| (format!("n{n}"), value.clone())).collect::<serde_json::Map<_, _>>().into()
}

/// Jobs that both accept, as changes to a plain job.
fn good() -> Vec<Value> {
    vec![
        json!({}),
        json!({"id": "0192F0C1222243338444555566667777"}),
        json!({"id": format!("{{{ID}}}")}),
        json!({"id": format!("urn:uuid:{ID}")}),
        json!({"to": "+1234567"}),
        json!({"to": "+123456789012345"}),
        json!({"code": "aZ09"}),
        json!({"code": "0123456789"}),
        json!({"expires_at": "2026-12-01T13:05:00.123456+01:00"}),
        json!({"channels": ["sms", "voice", "sms", "voice"]}),
        json!({"channels": ["voice", "voice"]}),
        json!({"fallback_after_s": 0}),
        json!({"fallback_after_s": 3600}),
        json!({"template": "a-b_9", "locale": "en-GB", "tenant": "shop"}),
        json!({"params": many(8, &json!("x".repeat(32)))}),
        json!({"params": {"origin": "verify.shop.example", "token": "x".repeat(64)}}),
        json!({"params": {"origin": format!("{}.com", ["a"; 125].join(".")), "token": "_-"}}),
        json!({"code": null, "template": "two_step_notice"}),
        json!({"params": {"minutes": -5, "most": i64::MAX, "": 1}}),
        json!({"supersedes": "ключ", "issued_at": "2026-12-01T12:00:00Z"}),
        json!({"client_ip": "192.0.2.7"}),
        json!({"client_ip": "2001:db8::7"}),
        json!({"tags": many(10, &json!("é".repeat(128)))}),
        json!({"x_own": {"any": ["thing", null]}, "x_": 1.5}),
        json!({"sealed": null, "params": null, "client_ip": null, "channels": null, "fallback_after_s": null,
               "template": null, "locale": null, "tenant": null, "tags": null, "supersedes": null, "issued_at": null}),
    ]
}

/// Jobs that both refuse, as changes to a plain job.
fn bad() -> Vec<Value> {
    let mut all: Vec<Value> = ["id", "to", "code", "expires_at"].map(|name| json!({name: null})).to_vec();
    for name in
        ["id", "to", "code", "expires_at", "channels", "fallback_after_s", "template", "locale", "tenant"]
    {
        all.extend([json!({name: {}}), json!({name: true}), json!({name: ""}), json!({name: -1})]);
    }
    for name in ["params", "tags", "client_ip", "supersedes", "issued_at", "sealed"] {
        all.extend([json!({name: []}), json!({name: 1}), json!({name: ""})]);
    }
    all.extend([
        json!({"id": "0192f0c1-2222-4333-8444-55556666777"}),
        json!({"id": "0192f0c1_2222_4333_8444_555566667777"}),
        json!({"to": "+123456"}),
        json!({"to": "+1234567890123456"}),
        json!({"to": "+0447700900123"}),
        json!({"to": "447700900123"}),
        json!({"to": "+44 7700 900123"}),
        json!({"to": "+447700900123\n"}),
        json!({"code": "123"}),
        json!({"code": "12345678901"}),
        json!({"code": "１２３４"}),
        json!({"expires_at": "2026-12-01T12:05:00"}),
        json!({"expires_at": "2026-13-01T12:05:00Z"}),
        json!({"channels": []}),
        json!({"channels": ["sms", "sms", "sms"]}),
        json!({"channels": ["sms", "voice", "sms", "voice", "sms"]}),
        json!({"channels": ["fax"]}),
        json!({"channels": [null]}),
        json!({"fallback_after_s": 3601}),
        json!({"fallback_after_s": 0.5}),
        json!({"fallback_after_s": "30"}),
        json!({"template": "A"}),
        json!({"template": "a".repeat(65)}),
        json!({"tenant": "a/b"}),
        json!({"locale": "en GB"}),
        json!({"locale": "a".repeat(36)}),
        json!({"params": many(9, &json!(1))}),
        json!({"params": {"A": 1}}),
        json!({"params": {"a": 0.5}}),
        json!({"params": {"a": u64::MAX}}),
        json!({"params": {"a": null}}),
        json!({"params": {"a": "x".repeat(33)}}),
        json!({"params": {"a": "tab\t"}}),
        json!({"params": {"origin": format!("{}.comm", ["a"; 125].join("."))}}),
        json!({"params": {"origin": "a".repeat(64)}}),
        json!({"params": {"origin": "verify.shop.example:443"}}),
        json!({"params": {"origin": "verify.shop.example."}}),
        json!({"params": {"origin": "-a.example"}}),
        json!({"params": {"origin": "a.example\n"}}),
        json!({"params": {"origin": 1}}),
        json!({"params": {"origin": null}}),
        json!({"params": {"token": "x".repeat(65)}}),
        json!({"params": {"token": "a/b"}}),
        json!({"params": {"token": 1}}),
        json!({"code": null, "template": "code"}),
        json!({"code": 1, "template": "two_step_notice"}),
        json!({"supersedes": "alone"}),
        json!({"issued_at": "2026-12-01T12:00:00Z"}),
        json!({"supersedes": "a", "issued_at": null}),
        json!({"supersedes": "a".repeat(65), "issued_at": "2026-12-01T12:00:00Z"}),
        json!({"client_ip": "192.0.2.256"}),
        json!({"client_ip": "2001:db8::7%eth0"}),
        json!({"tags": many(11, &json!("a"))}),
        json!({"tags": {"": "a"}}),
        json!({"tags": {"a": ""}}),
        json!({"tags": {"a": 1}}),
        json!({"tags": {"a": "x".repeat(129)}}),
        json!({"tags": {"a\u{7f}": "a"}}),
        json!({"tags": {"a": "\u{85}"}}),
        json!({"surprise": 1}),
        json!({"surprise": null}),
        json!({"X_own": 1}),
        json!({"sealed": "v1.k1.AAAA"}),
    ]);
    all
}

#[test]
fn schema_and_parser_accept_the_same_jobs() {
    let pair = SchemaAndParser::new();
    for change in good() {
        pair.both(&with(plain(), &change), true);
    }
    pair.both(&pair.sealed(&json!({"to": "+447700900123", "code": "481516"})), true);
    let notice = json!({"template": "two_step_notice"});
    pair.both(&with(without(plain(), "code"), &notice), true);
    pair.both(&with(pair.sealed(&json!({"to": "+447700900123"})), &notice), true);
    let job = pair.sealed(&json!({"to": "+447700900123", "code": "481516", "params": {"a": 1}}));
    pair.both(&with(job, &json!({"to": null, "tags": {"a": "b"}})), true);
}

#[test]
fn schema_and_parser_refuse_the_same_jobs() {
    let pair = SchemaAndParser::new();
    for change in bad() {
        pair.both(&with(plain(), &change), false);
    }
    for name in ["id", "to", "code", "expires_at"] {
        pair.both(&without(plain(), name), false);
    }
    let sealed = pair.sealed(&json!({"to": "+447700900123", "code": "481516"}));
    for beside in [json!({"to": "+447700900123"}), json!({"client_ip": "192.0.2.7"}), json!({"params": {}})] {
        pair.both(&with(sealed.clone(), &beside), false);
    }
    pair.both(&with(sealed, &json!({"sealed": "v2.k1.AAAA"})), false);
    for other in [json!([]), json!("job"), json!(null), json!({})] {
        pair.both(&other, false);
    }
}

/// Jobs that only the parser refuses.
#[test]
fn the_parser_checks_rules_that_a_schema_cannot_express() {
    let pair = SchemaAndParser::new();
    let text = plain().to_string();
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let cases = [
        ("more than 1 h ahead", with(plain(), &json!({"expires_at": "2026-12-01T13:02:00Z"})).to_string()),
        ("a field is given twice", text.replacen('{', r#"{"code":"000000","#, 1)),
        ("a whole number with a fraction", text.replacen('{', r#"{"fallback_after_s":30.0,"#, 1)),
        ("the same as a template's value", text.replacen('{', r#"{"params":{"a":1.0},"#, 1)),
        ("another tenant's seal", with(pair.sealed(&plain()), &json!({"tenant": "shop"})).to_string()),
        ("a number inside the seal", pair.sealed(&json!({"to": "0770", "code": "481516"})).to_string()),
        ("no code inside the seal", pair.sealed(&json!({"to": "+447700900123"})).to_string()),
        ("an unknown field inside the seal", pair.sealed(&plain()).to_string()),
    ];
    for (why, body) in cases {
        assert!(pair.schema_accepts(&body), "{why}: the schema refuses it too: {body}");
        assert!(pair.parser_accepts(&body).is_err(), "{why}: the parser accepts {body}");
    }
    // Too deep for JSON parsers, for ours and for the schema's.
    let body = text.replacen('{', &format!(r#"{{"x_deep":{deep},"#), 1);
    assert!(!pair.schema_accepts(&body) && pair.parser_accepts(&body).is_err());
}

/// Jobs that only the parser accepts: it allows more spellings of a time than RFC 3339.
#[test]
fn the_parser_accepts_more_spellings_of_a_time() {
    let pair = SchemaAndParser::new();
    for ends in ["20261201T120500Z", "2026-12-01 12:05Z", "2026-12-01T12:05:00Z[UTC]"] {
        let body = with(plain(), &json!({"expires_at": ends})).to_string();
        assert!(!pair.schema_accepts(&body), "the schema accepts {ends}");
        assert_eq!(pair.parser_accepts(&body), Ok(()), "{ends}");
    }
}

#[test]
fn schemas_and_parser_of_acts_agree() {
    let tenants = [json!({}), json!({"tenant": "shop"}), json!({"tenant": null}), json!({"tenant": "A"})];
    let ids = [json!({"id": ID}), json!({"id": "7"}), json!({"id": null}), json!({})];
    let bodies = [
        json!({}),
        json!({"verified": true}),
        json!({"verified": null}),
        json!({"verified": "yes"}),
        json!({"step": 1}),
        json!({"step": 4}),
        json!({"step": 0}),
        json!({"step": 5}),
        json!({"step": null}),
        json!({"step": 1.5}),
        json!({"x_own": []}),
        json!({"why": 1}),
    ];
    let mut accepted = 0;
    for (verb, contract) in
        [(Verb::Feedback, Contract::Feedback), (Verb::Next, Contract::Next), (Verb::Cancel, Contract::Cancel)]
    {
        let schema = validator(&contract.document());
        for (tenant, id, body) in triples(&tenants, &ids, &bodies) {
            let body = with(with(tenant.clone(), id), body);
            let read = Act::decode(verb, body.to_string().as_bytes(), None);
            assert_eq!(schema.is_valid(&body), read.is_ok(), "{verb}: {body}: {read:?}");
            accepted += usize::from(read.is_ok());
        }
    }
    assert_eq!(accepted, 3 * (1 + 5 + 2), "for each valid tenant");
}

/// Returns all combinations of three values.
fn triples<'v>(
    a: &'v [Value], b: &'v [Value], c: &'v [Value],
) -> impl Iterator<Item = (&'v Value, &'v Value, &'v Value)> {
    a.iter().flat_map(move |a| b.iter().flat_map(move |b| c.iter().map(move |c| (a, b, c))))
}

/// A value that may or may not be valid for some field.
fn any_value() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just(String::new()),
        "[a-z0-9_-]{1,40}",
        "[0-9A-Za-z]{3,11}",
        r"\+[0-9]{5,17}",
        "[a-zA-Z-]{1,40}",
        r"[ -~\u{7f}-\u{a0}é]{0,140}",
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "[0-9]{1,3}(\\.[0-9]{1,3}){3}",
        Just(ENDS.to_owned()),
        Just("sms".to_owned()),
        Just("voice".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2i64..5000).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        Just(json!(0.5)),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 24, 12, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..12)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

const FIELDS: &[&str] = &[
    "id",
    "to",
    "code",
    "expires_at",
    "channels",
    "fallback_after_s",
    "template",
    "locale",
    "params",
    "tenant",
    "sign_in",
    "supersedes",
    "client_ip",
    "tags",
    "x_own",
    "sealed",
    "surprise",
];

/// A value close to a field's bounds, inside or outside of them.
fn near(field: &str) -> BoxedStrategy<Value> {
    let text = |pattern: &'static str| pattern.prop_map(Value::from).boxed();
    match field {
        "id" => text("[0-9a-fA-F]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{11,13}"),
        "to" => text(r"\+[0-9]{6,16}"),
        "code" => prop_oneof![text("[0-9A-Za-z]{3,11}"), Just(Value::Null)].boxed(),
        "expires_at" => text("2026-12-01T12:[0-6][0-9]:0[0-9](\\.[0-9]{1,3})?Z"),
        "channels" => {
            let words = prop::sample::select(vec!["sms", "voice"]);
            prop::collection::vec(words, 0..6).prop_map(Value::from).boxed()
        }
        "fallback_after_s" => prop_oneof![-2i64..5, 3598i64..3603].prop_map(Value::from).boxed(),
        "template" => prop_oneof![text("[a-z0-9_-]{0,66}"), Just(json!("code"))].boxed(),
        "tenant" => text("[a-z0-9_-]{0,66}"),
        "locale" => text("[a-zA-Z0-9-]{0,37}"),
        "params" => {
            let value = prop_oneof![
                any::<i64>().prop_map(Value::from),
                text("[ -~é]{0,34}"),
                text("[a-zA-Z0-9_-]{0,66}"),
                text(r"[a-zA-Z0-9]{0,64}(\.-?[a-zA-Z0-9-]{0,3}){0,3}[:.\n]?"),
            ];
            let name = prop_oneof![2 => "[a-z0-9_]{0,34}", 1 => Just("origin".to_owned()), 1 => Just("token".to_owned())];
            let pairs = prop::collection::btree_map(name, value, 0..10);
            pairs.prop_map(|map| json!(map)).boxed()
        }
        "tags" => prop::collection::btree_map("[ -~é]{0,130}", "[ -~é\u{7f}]{0,130}", 0..12)
            .prop_map(|map| json!(map))
            .boxed(),
        "sign_in" | "supersedes" => text("[ -~é]{0,66}"),
        "client_ip" => text(r"[0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9a-f]{1,4}(:{1,2}[0-9a-f]{1,4}){1,8}"),
        _ => any_value().boxed(),
    }
}

fn change() -> impl Strategy<Value = (&'static str, Value)> {
    prop::sample::select(FIELDS)
        .prop_flat_map(|field| (Just(field), prop_oneof![3 => near(field), 1 => any_value().boxed()]))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn schema_and_parser_agree_on_any_job(changes in prop::collection::vec(change(), 1..4)) {
        thread_local!(static PAIR: SchemaAndParser = SchemaAndParser::new());
        let mut job = plain();
        for (name, value) in changes {
            if name == "sign_in" {
                job["supersedes"] = value;
                job["issued_at"] = json!(ENDS);
            } else {
                job[name] = value;
            }
        }
        let body = job.to_string();
        let (schema, parser) = PAIR.with(|j| (j.schema_accepts(&body), j.parser_accepts(&body)));
        prop_assert_eq!(schema, parser.is_ok(), "{}: {:?}", body, parser);
    }
}
