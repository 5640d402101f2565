use std::time::Duration;

use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::*;
use crate::domain::dispatch::PhoneNumber;

fn account() -> Infobip {
    Infobip::new(Config {
        base_url: "https://xxxxx.api.infobip.example/".to_owned(),
        api_key: Some("key".into()),
        api_key_file: None,
        from: "Shop".to_owned(),
    })
    .unwrap()
}

fn answer(status: u16, body: &Value) -> Answer {
    let body = Some(body.to_string().into_bytes());
    Answer { status, headers: HeaderMap::new(), body, at: crate::domain::clock::now() }
}

#[test]
fn a_text_goes_under_our_reference_with_the_codes_life_as_its_validity() {
    let to = PhoneNumber::parse("+41793026727").unwrap();
    let request = account()
        .build(&OutboundMessage {
            channel: Channel::Sms,
            to: &to,
            content: &RenderedMessage::Text("Your code is 123456".to_owned().into()),
            sender: None,
            life: Duration::from_millis(119_900),
            reference: "0192f0c1-2222-7333-8444-555566667777-1",
            callback: Some("https://otp.example/r"),
            speech_url: None,
        })
        .unwrap();
    assert_eq!(request.url, "https://xxxxx.api.infobip.example/sms/3/messages");
    assert!(matches!(request.auth, Auth::Own("App", ref key) if key.as_str() == "key"));
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let long = account().build(&OutboundMessage {
        channel: Channel::Sms,
        to: &to,
        content: &RenderedMessage::Text("Your code is 123456".to_owned().into()),
        sender: None,
        life: Duration::from_secs(3 * 86_400),
        reference: "x-1",
        callback: None,
        speech_url: None,
    });
    let long: Value = serde_json::from_str(&long.unwrap().body).unwrap();
    assert_eq!(long["messages"][0]["options"]["validityPeriod"]["amount"], 172_800, "at most 48 h");
    let expected = json!({"messages": [{
        "sender": "Shop",
        "destinations": [{"to": "41793026727", "messageId": "0192f0c1-2222-7333-8444-555566667777-1"}],
        "content": {"text": "Your code is 123456"},
        "options": {"validityPeriod": {"amount": 119, "timeUnit": "SECONDS"}},
        "webhooks": {
            "delivery": {"url": "https://otp.example/r", "intermediateReport": true, "notify": true},
            "contentType": "application/json",
        },
    }]});
    assert_eq!(body, expected);
}

/// The example answer in the carrier's documentation, with another status.
fn send_answer(group: i64, id: i64) -> Value {
    let status =
        json!({"groupId": group, "groupName": "…", "id": id, "name": "…", "description": "never shown"});
    json!({"bulkId": "2034072219640523072", "messages": [
        {"messageId": "job-42", "status": status, "destination": "41793026727", "details": {"messageCount": 2}},
    ]})
}

#[test]
fn answers_are_judged_as_the_tables_say() {
    let judge = |status, body: &Value| account().judge(Channel::Sms, &answer(status, body));
    let accepted = judge(200, &send_answer(1, 26));
    assert_eq!(accepted.outcome, Outcome::Accepted);
    assert_eq!(
        (accepted.details.message_id.as_deref(), accepted.details.segments),
        (Some("job-42"), Some(2))
    );
    assert_eq!(
        judge(200, &send_answer(5, DUPLICATE)).outcome,
        Outcome::Accepted,
        "the message was accepted before"
    );
    for (group, id, outcome) in [
        (5, 51, Outcome::Rejected(Reason::InvalidNumber)),
        (5, 10, Outcome::Rejected(Reason::Blocked)),
        (5, 13, Outcome::Misconfigured(RefusalScope::Narrow)),
        (5, 12, Outcome::Misconfigured(RefusalScope::Account)),
        (5, 20, Outcome::Throttled { retry_after: None }),
        (5, 21, Outcome::Unavailable),
        (5, 25, Outcome::Rejected(Reason::Request)),
        (2, 100, Outcome::Rejected(Reason::Request)),
        (77, 7000, Outcome::Unknown),
    ] {
        let judged = judge(200, &send_answer(group, id));
        assert_eq!(judged.outcome, outcome, "{group} {id}");
        assert_eq!(judged.details.message_id, None, "{group} {id}");
    }
    for (status, outcome) in [
        (400, Outcome::Rejected(Reason::Request)),
        (401, Outcome::Misconfigured(RefusalScope::Account)),
        (429, Outcome::Throttled { retry_after: None }),
        (500, Outcome::Unknown),
        (503, Outcome::Unknown),
        (200, Outcome::Unknown),
    ] {
        assert_eq!(judge(status, &json!({})).outcome, outcome, "{status}");
    }
    let mut nameless = send_answer(1, 26);
    nameless["messages"][0]["messageId"] = json!("");
    assert_eq!(
        judge(200, &nameless).outcome,
        Outcome::Unknown,
        "an answer without a message id cannot be matched with a receipt"
    );
}

fn report(group: i64, id: i64, error: &Value) -> Value {
    let status = json!({"id": id, "groupId": group, "groupName": "…", "name": "…"});
    json!({"results": [{"bulkId": "1", "messageId": "job-42", "to": "41793026727", "sentAt": "2019-04-09T16:00:58.647+0000",
        "price": {"pricePerMessage": 0.01, "currency": "EUR"}, "status": status, "error": error}]})
}

#[test]
fn reports_and_logs_read_as_the_tables_say() {
    let headers = HeaderMap::new();
    let none = json!({"id": 0, "permanent": false});
    for (group, id, error, expected) in [
        (1, 7, &none, Some((ReceiptStatus::Interim, None))),
        (3, 2, &none, Some((ReceiptStatus::Interim, None))),
        (3, 5, &none, Some((ReceiptStatus::Delivered, None))),
        (4, 15, &none, Some((ReceiptStatus::Bad, Some(Reason::CarrierExpired)))),
        (2, 9, &none, Some((ReceiptStatus::Bad, Some(Reason::Unreachable)))),
        (2, 9, &json!({"id": 1, "permanent": true}), Some((ReceiptStatus::Bad, Some(Reason::InvalidNumber)))),
        (2, 4, &json!({"id": 99, "permanent": true}), Some((ReceiptStatus::Bad, Some(Reason::Blocked)))),
        (5, 12, &none, Some((ReceiptStatus::Bad, Some(Reason::Account)))),
        (5, 6000, &none, Some((ReceiptStatus::Bad, Some(Reason::Unexplained)))),
        (5, DUPLICATE, &none, None),
        (9, 1, &none, None),
    ] {
        let report = report(group, id, error);
        let body = report.to_string().into_bytes();
        let callback = Callback { url: "", query: "", headers: &headers, body: &body };
        let read = account().parse_callback(&callback).unwrap().pop().map(|report| report.receipt);
        assert_eq!(read.as_ref().map(|r| (r.status, r.reason)), expected, "{group} {id}");
        assert_eq!(read, account().parse_status(Channel::Sms, &answer(200, &report)), "a log says the same");
        assert!(read.is_none_or(|r| r.message_id.as_deref() == Some("job-42")));
    }
    assert_eq!(
        account().parse_status(Channel::Sms, &answer(200, &json!({"results": []}))),
        None,
        "Infobip does not know the message"
    );
    assert_eq!(account().parse_status(Channel::Sms, &answer(503, &report(3, 5, &none))), None);
    let mut several = report(3, 5, &none);
    several["results"].as_array_mut().unwrap().push(report(1, 7, &Value::Null)["results"][0].clone());
    let receipt = account().parse_status(Channel::Sms, &answer(200, &several)).unwrap();
    assert_eq!(receipt.status, ReceiptStatus::Delivered, "the order of receipts in a batch does not matter");
    let read =
        |body: &[u8]| account().parse_callback(&Callback { url: "", query: "", headers: &headers, body });
    assert_eq!(read(b"<reportResponse/>"), Err(InvalidCallback::Form));
    let marked = format!("\u{feff}{several}");
    assert_eq!(read(marked.as_bytes()).unwrap().len(), 2, "a byte order mark is ignored");
    let sent =
        Answer { body: Some(format!("\u{feff}{}", send_answer(1, 26)).into_bytes()), ..answer(200, &none) };
    assert_eq!(account().judge(Channel::Sms, &sent).outcome, Outcome::Accepted);
}

#[test]
fn a_report_names_the_attempt_and_a_call_is_not_built() {
    let id = "0192f0c1-2222-7333-8444-555566667777-1";
    let body = report(3, 5, &Value::Null).to_string().replace("job-42", id).into_bytes();
    let callback = Callback { url: "", query: "", headers: &HeaderMap::new(), body: &body };
    let reports = account().parse_callback(&callback).unwrap();
    assert_eq!(reports[0].attempt, Some(id.parse().unwrap()));
    let message = OutboundMessage {
        channel: Channel::Voice,
        to: &PhoneNumber::parse("+41793026727").unwrap(),
        content: &RenderedMessage::Speech(crate::domain::dispatch::Spoken {
            language: "de".to_owned(),
            key_prompt: None,
            parts: vec![],
        }),
        sender: None,
        life: Duration::from_secs(60),
        reference: id,
        callback: None,
        speech_url: None,
    };
    assert!(account().build(&message).is_none());
}

#[test]
fn it_is_asked_by_our_reference_about_texts_alone() {
    let asked = account().status_request(Channel::Sms, "0192f0c1-1 &x").unwrap();
    assert_eq!(asked.method, Method::Get);
    assert_eq!(asked.url, "https://xxxxx.api.infobip.example/sms/3/logs?messageId=0192f0c1-1+%26x");
    assert!(account().status_request(Channel::Voice, "x").is_none());
    assert!(account().keeps_references(Channel::Sms) && !account().keeps_references(Channel::Voice));
}

/// Every status id of the table of reports, one row each.
#[test]
fn each_status_of_a_bad_report_has_its_reason() {
    for (ids, expected) in [
        (&[8, 51, 52][..], Reason::InvalidNumber),
        (&[10, 14], Reason::Blocked),
        (&[6, 11, 13, 18, 19], Reason::Permission),
        (&[12, 17], Reason::Account),
        (&[20, 21, 31], Reason::Congestion),
        (&[15], Reason::CarrierExpired),
        (&[4, 9], Reason::Unreachable),
        (&[6000], Reason::Unexplained),
    ] {
        for id in ids {
            assert_eq!(reason_of(*id, None), expected, "{id}");
        }
    }
}

#[test]
fn only_a_bad_report_has_a_code_and_only_a_refusal_keeps_its_status() {
    let none = json!({"id": 0, "permanent": false});
    let code = |group, id| {
        account().parse_status(Channel::Sms, &answer(200, &report(group, id, &none))).unwrap().carrier_code
    };
    assert_eq!((code(3, 5), code(4, 15).as_deref()), (None, Some("15")));
    let details = |group, id| account().judge(Channel::Sms, &answer(200, &send_answer(group, id))).details;
    assert_eq!((details(1, 7).carrier_code, details(1, 7).segments), (None, Some(2)));
    assert_eq!(details(5, 8).carrier_code.as_deref(), Some("8"));
    assert_eq!(details(5, 8).message_id, None, "nothing was accepted");
}

#[test]
fn the_account_knows_its_address() {
    let config = Config {
        base_url: "https://xxxxx.api.infobip.example".to_owned(),
        api_key: None,
        api_key_file: None,
        from: "Shop".to_owned(),
    };
    assert_eq!(config.base_url(), "https://xxxxx.api.infobip.example");
    assert_eq!(config.min_life(), Duration::ZERO);
    for bad in
        ["", "infobip.example", "https://h?x=1", "https://h/#f", "https://u:p@h", "ftp://h", "https://a,b"]
    {
        let why = checked_base_url(bad).unwrap_err();
        assert!(why.starts_with("base_url "), "{bad}: {why}");
    }
    assert_eq!(checked_base_url("http://127.0.0.1:8025/").unwrap(), "http://127.0.0.1:8025");
}

#[test]
fn a_refused_request_has_its_code_and_an_operator_is_told_what_to_check() {
    let newer = |code: &str| json!({"errorCode": code, "description": "never shown", "violations": []});
    let older =
        |id: &str| json!({"requestError": {"serviceException": {"messageId": id, "text": "never shown"}}});
    for (status, body, code, advice) in [
        (401, older("UNAUTHORIZED"), Some("UNAUTHORIZED"), "check base_url and api_key"),
        (403, newer("E403"), Some("E403"), "check base_url and api_key"),
        (404, json!({}), None, "check base_url and api_key"),
        (400, older("BAD_REQUEST"), Some("BAD_REQUEST"), "check its section"),
        (400, newer("E400"), Some("E400"), "check its section"),
        (400, newer("a text for people"), None, "check its section"),
        (400, json!({"errorCode": 400}), None, "check its section"),
        (429, newer("E429"), Some("E429"), "check its section"),
        (200, send_answer(5, 12), Some("12"), "no credit"),
        (200, send_answer(5, 13), Some("13"), "check from"),
        (200, send_answer(5, 18), Some("18"), "registered numbers only"),
        (200, send_answer(5, 19), Some("19"), "no route"),
    ] {
        let judgement = account().judge(Channel::Sms, &answer(status, &body));
        assert_eq!(judgement.details.carrier_code.as_deref(), code, "{status} {body}");
        let told = account().advice(&judgement);
        assert!(told.contains(advice), "{status} {body}: {told}");
    }
}
