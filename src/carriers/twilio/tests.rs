use std::time::Duration;

use axum::http::HeaderMap;

use super::codes::reason_of;
use super::signature::signature;
use super::*;
use crate::domain::attempt::{Reason, ReceiptStatus, RefusalScope};
use crate::domain::dispatch::Part;
use crate::domain::dispatch::PhoneNumber;

fn form(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

fn account() -> Twilio {
    Twilio::new(Config {
        account_sid: "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_owned(),
        auth_token: Some("12345".into()),
        from: Some("+15005550006".to_owned()),
        machine_detection: true,
        base_url: "https://api.example".to_owned(),
        ..Config::default()
    })
    .unwrap()
}

fn answer(status: u16, body: &str) -> Answer {
    Answer { status, headers: HeaderMap::new(), body: Some(body.into()), at: crate::domain::clock::now() }
}

fn callback(url: &str, body: &str, signed: &str) -> Result<Vec<Report>, InvalidCallback> {
    let mut headers = HeaderMap::new();
    headers.insert("x-twilio-signature", signed.parse().unwrap());
    let query = url.split_once('?').map_or("", |(_, query)| query);
    account().parse_callback(&Callback { url, query, headers: &headers, body: body.as_bytes() })
}

#[test]
fn a_callback_is_believed_only_with_its_signature() {
    let body = "AccountSid=ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa&ApiVersion=2010-04-01&From=%2B15005550006\
                &MessageSid=SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa&MessageStatus=delivered\
                &SmsSid=SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa&SmsStatus=delivered&To=%2B15005550010";
    let good = "2AAsmco4Nhq2nntdycpgEt9+UO4=";
    let url = "https://example.com/hooks/twilio/status";
    let report = &callback(url, body, good).unwrap()[0];
    assert_eq!((report.receipt.status, report.attempt), (ReceiptStatus::Delivered, None));
    assert_eq!(report.receipt.message_id.as_deref(), Some("SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
    let other = body.replace("delivered", "undelivered");
    assert_eq!(callback(url, &other, good), Err(InvalidCallback::Signature));
    assert_eq!(callback(url, body, "AAAA"), Err(InvalidCallback::Signature));
}

/// A `GET` is signed over its URL with the query only.
#[test]
fn a_callback_by_get_is_read_from_its_query() {
    let url = "https://example.com/r?MessageSid=SM1&MessageStatus=undelivered&ErrorCode=30003";
    let good = signature("12345", url, &[]);
    let report = &callback(url, "", &good).unwrap()[0];
    assert_eq!(report.receipt.reason, Some(Reason::Unreachable));
    assert_eq!(report.receipt.message_id.as_deref(), Some("SM1"));
    let forged = url.replace("undelivered", "delivered");
    assert_eq!(callback(&forged, "", &good), Err(InvalidCallback::Signature));
}

#[test]
fn an_account_with_one_url_for_all_messages_sends_none_along() {
    let to = PhoneNumber::parse("+447700900123").unwrap();
    let text = RenderedMessage::Text(Zeroizing::new("Your code: 4815".to_owned()));
    let call =
        RenderedMessage::Speech(Spoken { language: "en-GB".to_owned(), key_prompt: None, parts: vec![] });
    for (channel, content) in [(Channel::Sms, &text), (Channel::Voice, &call)] {
        let life = Duration::from_secs(60);
        let message = OutboundMessage {
            channel,
            to: &to,
            content,
            sender: None,
            life,
            reference: "x-1",
            callback: None,
            speech_url: None,
        };
        let body = account().build(&message).unwrap().body;
        assert!(!body.contains("StatusCallback"), "{}", *body);
    }
}

#[test]
fn receipts_read_as_the_tables_say() {
    let message = |status, code| message_receipt(status, code, None).map(|r| (r.status, r.reason));
    assert_eq!(message("sent", None), Some((ReceiptStatus::Interim, None)));
    assert_eq!(message("undelivered", Some(30003)), Some((ReceiptStatus::Bad, Some(Reason::Unreachable))));
    assert_eq!(message("failed", Some(30006)), Some((ReceiptStatus::Bad, Some(Reason::Landline))));
    assert_eq!(message("undelivered", Some(30036)), Some((ReceiptStatus::Bad, Some(Reason::CarrierExpired))));
    assert_eq!(message("undelivered", Some(99999)), Some((ReceiptStatus::Bad, Some(Reason::Unexplained))));
    assert_eq!(message("levitating", None), None);
    let call = |status, answered_by, sip| {
        let report = CallReport { status, key: false, is_after_key: false, answered_by, sip, sid: None };
        report.receipt().map(|r| (r.status, r.reason))
    };
    assert_eq!(call("completed", Some("human"), None), Some((ReceiptStatus::Delivered, None)));
    assert_eq!(call("completed", None, None), Some((ReceiptStatus::Delivered, None)));
    assert_eq!(
        call("completed", Some("machine_start"), None),
        Some((ReceiptStatus::Bad, Some(Reason::Machine)))
    );
    assert_eq!(call("busy", None, None), Some((ReceiptStatus::Bad, Some(Reason::Busy))));
    assert_eq!(call("no-answer", None, None), Some((ReceiptStatus::Bad, Some(Reason::NoAnswer))));
    assert_eq!(call("failed", None, Some("404")), Some((ReceiptStatus::Bad, Some(Reason::InvalidNumber))));
    assert_eq!(call("ringing", None, None), Some((ReceiptStatus::Interim, None)));
}

/// A mailbox answers, presses no key, and the call is completed.
#[test]
fn a_call_that_asks_for_a_key_is_delivered_only_by_a_key() {
    let with = |is_after_key, key, status| {
        let report = CallReport { status, key, is_after_key, answered_by: None, sip: None, sid: None };
        report.receipt().map(|r| (r.status, r.reason))
    };
    assert_eq!(with(true, false, "completed"), Some((ReceiptStatus::Bad, Some(Reason::NoKey))));
    assert_eq!(with(false, true, "in-progress"), Some((ReceiptStatus::Delivered, None)));
    assert_eq!(with(false, false, "in-progress"), Some((ReceiptStatus::Interim, None)));
    assert_eq!(with(true, false, "no-answer"), Some((ReceiptStatus::Bad, Some(Reason::NoAnswer))));
}

/// The recipient may press a key and hang up in the same moment.
#[test]
fn a_request_for_the_speech_reports_a_key_in_a_call_under_way_or_nothing() {
    let url = "https://r.example/v1/x?speech";
    for (body, expected) in [
        ("CallStatus=in-progress&Digits=5", Some(ReceiptStatus::Delivered)),
        ("CallStatus=in-progress&Digits=", None),
        ("CallStatus=in-progress", None),
        ("CallStatus=completed&Digits=5", None),
        ("CallStatus=completed", None),
    ] {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let reports = callback(url, body, &signature("12345", url, &pairs)).unwrap();
        assert_eq!(reports.first().map(|report| report.receipt.status), expected, "{body}");
    }
}

#[test]
fn the_first_request_of_a_call_that_asks_for_a_key_contains_no_code() {
    let parts = vec![Part::Say(Zeroizing::new("4, 8, 1, 5".to_owned()))];
    let key_prompt = Some("This is A & B. Press any key.".to_owned());
    let spoken = Spoken { language: "en-GB".to_owned(), key_prompt, parts };
    let answer = account().speech(Some(&spoken)).unwrap();
    assert!(answer.body.contains("<Say language=\"en-GB\">4, 8, 1, 5</Say>"), "{}", answer.body.as_str());
    let message = OutboundMessage {
        channel: Channel::Voice,
        to: &PhoneNumber::parse("+447700900123").unwrap(),
        content: &RenderedMessage::Speech(spoken),
        sender: None,
        life: Duration::from_secs(60),
        reference: "x-1",
        callback: Some("https://r.example/v1/x"),
        speech_url: Some("https://r.example/v1/x?speech"),
    };
    let request = account().build(&message).unwrap();
    let form: Vec<(String, String)> = form_urlencoded::parse(request.body.as_bytes()).into_owned().collect();
    let field = |name: &str| form.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).unwrap();
    let prompt = "<Say language=\"en-GB\">This is A &amp; B. Press any key.</Say>";
    assert_eq!(
        field("Twiml"),
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Gather input=\"dtmf\" numDigits=\"1\" finishOnKey=\"\" \
             timeout=\"5\" action=\"https://r.example/v1/x?speech\"><Pause length=\"1\"/>{prompt}<Pause length=\"5\"/>{prompt}\
             </Gather><Hangup/></Response>"
        )
    );
    assert_eq!(field("StatusCallback"), "https://r.example/v1/x?after_key#rc=5&rp=all");
    assert_eq!(account().speech(None).unwrap().body.matches("<Say").count(), 0, "nothing is said");
}

#[test]
fn a_status_that_was_asked_for_reads_like_a_receipt() {
    let asked = account().status_request(Channel::Voice, "CA1").unwrap();
    assert_eq!(asked.method, Method::Get);
    assert_eq!(
        asked.url,
        "https://api.example/2010-04-01/Accounts/ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/Calls/CA1.json"
    );
    let hear = |channel, status, body: &str| account().parse_status(channel, &answer(status, body));
    let told = |channel, body: &str| hear(channel, 200, body).map(|r| (r.status, r.reason));
    let text = |status: &str, code: &str| {
        told(Channel::Sms, &format!("{{\"sid\": \"SM1\", \"status\": \"{status}\", \"error_code\": {code}}}"))
    };
    for on_its_way in ["accepted", "queued", "sending", "sent"] {
        assert_eq!(text(on_its_way, "null"), Some((ReceiptStatus::Interim, None)), "{on_its_way}");
    }
    assert_eq!(text("delivered", "null"), Some((ReceiptStatus::Delivered, None)));
    assert_eq!(text("undelivered", "30006"), Some((ReceiptStatus::Bad, Some(Reason::Landline))));
    assert_eq!(text("failed", "null"), Some((ReceiptStatus::Bad, Some(Reason::Unexplained))));
    assert_eq!(text("levitating", "null"), None);
    let call = |status: &str, who: &str| {
        told(
            Channel::Voice,
            &format!("{{\"sid\": \"CA1\", \"status\": \"{status}\", \"answered_by\": {who}}}"),
        )
    };
    assert_eq!(call("in-progress", "null"), Some((ReceiptStatus::Interim, None)));
    // Whether a key was pressed is in no resource.
    let mut at_once = account();
    at_once.config.code_at_once = true;
    let no_key = (ReceiptStatus::Bad, Some(Reason::NoKey));
    for (account, expected) in [(account(), no_key), (at_once, (ReceiptStatus::Delivered, None))] {
        for who in ["null", "\"human\""] {
            let body = format!("{{\"sid\": \"CA1\", \"status\": \"completed\", \"answered_by\": {who}}}");
            let receipt = account.parse_status(Channel::Voice, &answer(200, &body)).unwrap();
            assert_eq!((receipt.status, receipt.reason), expected, "{who}");
        }
    }
    assert_eq!(call("completed", "\"machine_start\""), Some((ReceiptStatus::Bad, Some(Reason::Machine))));
    assert_eq!(call("no-answer", "null"), Some((ReceiptStatus::Bad, Some(Reason::NoAnswer))));
    let failed = "{\"sid\": \"SM1\", \"status\": \"undelivered\", \"error_code\": 30003}";
    let receipt = hear(Channel::Sms, 200, failed).unwrap();
    assert_eq!(
        (receipt.message_id.as_deref(), receipt.carrier_code.as_deref()),
        (Some("SM1"), Some("30003"))
    );
    // An answer without a status gives no receipt.
    let delivered = "{\"sid\": \"SM1\", \"status\": \"delivered\"}";
    for (status, body) in [
        (201, delivered),
        (404, delivered),
        (500, delivered),
        (200, "<html>"),
        (200, "{}"),
        (200, "[]"),
        (200, "{\"status\": 7}"),
        (200, ""),
    ] {
        assert_eq!(hear(Channel::Sms, status, body), None, "{status} {body}");
    }
}

#[test]
fn answers_are_judged_as_the_tables_say() {
    let judge = |status, body: &str| account().judge(Channel::Sms, &answer(status, body)).outcome;
    let error = |code: i64| format!("{{\"code\": {code}, \"message\": \"x\", \"status\": 400}}");
    assert_eq!(judge(201, "{\"sid\": \"SM1\", \"num_segments\": \"2\"}"), Outcome::Accepted);
    assert_eq!(judge(201, "<html>"), Outcome::Unknown, "a success that cannot be read");
    assert_eq!(judge(400, &error(21211)), Outcome::Rejected(Reason::InvalidNumber));
    assert_eq!(judge(400, &error(21614)), Outcome::Rejected(Reason::Landline));
    assert_eq!(judge(400, &error(21610)), Outcome::Rejected(Reason::OptedOut));
    assert_eq!(judge(400, &error(21612)), Outcome::Rejected(Reason::Request));
    assert_eq!(judge(400, &error(21408)), Outcome::Misconfigured(RefusalScope::Narrow));
    assert_eq!(judge(401, &error(20003)), Outcome::Misconfigured(RefusalScope::Account));
    assert_eq!(judge(401, ""), Outcome::Misconfigured(RefusalScope::Account));
    assert_eq!(judge(400, "nonsense"), Outcome::Rejected(Reason::Request));
    assert_eq!(judge(429, &error(21611)), Outcome::Throttled { retry_after: None });
    assert_eq!(judge(503, ""), Outcome::Unavailable);
    assert_eq!(judge(500, &error(20500)), Outcome::Unknown, "other 5xx statuses do not prove rejection");
    assert_eq!(judge(502, ""), Outcome::Unknown);
    assert_eq!(judge(302, ""), Outcome::Unknown);
    let details =
        account().judge(Channel::Sms, &answer(201, "{\"sid\": \"SM1\", \"num_segments\": \"2\"}")).details;
    assert_eq!((details.message_id.as_deref(), details.segments), (Some("SM1"), Some(2)));
}

#[test]
fn a_throttled_answer_keeps_its_retry_after() {
    let mut busy = answer(429, "{\"code\": 20429}");
    busy.headers.insert("retry-after", "7".parse().unwrap());
    let outcome = account().judge(Channel::Sms, &busy).outcome;
    assert_eq!(outcome, Outcome::Throttled { retry_after: Some(Duration::from_secs(7)) });
    busy.headers.insert("date", "Thu, 01 Jan 2026 00:00:00 GMT".parse().unwrap());
    busy.headers.insert("retry-after", "Thursday, 01-Jan-26 00:00:09 GMT".parse().unwrap());
    let outcome = account().judge(Channel::Sms, &busy).outcome;
    assert_eq!(outcome, Outcome::Throttled { retry_after: Some(Duration::from_secs(9)) }, "by its own clock");
}

#[test]
fn a_text_carries_its_remaining_life_and_where_to_report() {
    let to = PhoneNumber::parse("+447700900123").unwrap();
    let words = RenderedMessage::Text(Zeroizing::new("Your code: 48 & 15 é".to_owned()));
    let message = OutboundMessage {
        channel: Channel::Sms,
        to: &to,
        content: &words,
        sender: None,
        life: Duration::from_secs(290),
        reference: "x-1",
        callback: Some("https://r.example/v1/x"),
        speech_url: None,
    };
    let request = account().build(&message).unwrap();
    assert_eq!(
        request.url,
        "https://api.example/2010-04-01/Accounts/ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/Messages.json"
    );
    let form: Vec<(String, String)> = form_urlencoded::parse(request.body.as_bytes()).into_owned().collect();
    let field = |name: &str| form.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    assert_eq!(field("To"), Some("+447700900123"));
    assert_eq!(field("Body"), Some("Your code: 48 & 15 é"));
    assert_eq!(field("ValidityPeriod"), Some("290"));
    assert_eq!(field("StatusCallback"), Some("https://r.example/v1/x#rc=5&rp=all"));
}

/// Fails when a new channel is sent as a text.
#[test]
fn a_message_of_another_channel_is_not_built() {
    let text = RenderedMessage::Text(Zeroizing::new("Your code: 4815".to_owned()));
    let message = OutboundMessage {
        channel: Channel::Voice,
        to: &PhoneNumber::parse("+447700900123").unwrap(),
        content: &text,
        sender: None,
        life: Duration::from_secs(60),
        reference: "x-1",
        callback: None,
        speech_url: None,
    };
    assert!(account().build(&message).is_none());
}

#[test]
fn a_call_speaks_and_escapes() {
    let to = PhoneNumber::parse("+447700900123").unwrap();
    let parts = vec![Part::Pause(1), Part::Say(Zeroizing::new("A & B: 4. 8.".to_owned()))];
    let words = RenderedMessage::Speech(Spoken { language: "en-GB".to_owned(), key_prompt: None, parts });
    let message = OutboundMessage {
        channel: Channel::Voice,
        to: &to,
        content: &words,
        sender: None,
        life: Duration::from_secs(60),
        reference: "x-1",
        callback: Some("https://r.example/"),
        speech_url: None,
    };
    let request = account().build(&message).unwrap();
    let form: Vec<(String, String)> = form_urlencoded::parse(request.body.as_bytes()).into_owned().collect();
    let fields =
        |name: &str| form.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect::<Vec<_>>();
    assert_eq!(
        fields("Twiml"),
        ["<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Pause length=\"1\"/>\
          <Say language=\"en-GB\">A &amp; B: 4. 8.</Say><Hangup/></Response>"]
    );
    assert_eq!(fields("StatusCallbackEvent"), ["initiated", "ringing", "answered", "completed"]);
    assert_eq!(fields("MachineDetection"), ["Enable"]);
}

/// Every code of the tables, one row each: a code that falls out of its row gets another outcome.
#[test]
fn each_code_has_its_outcome_and_its_reason() {
    let rejected = |reason| Some(Outcome::Rejected(reason));
    for (codes, expected) in [
        (&[21211, 21217][..], rejected(Reason::InvalidNumber)),
        (&[21614, 21635], rejected(Reason::Landline)),
        (&[21610], rejected(Reason::OptedOut)),
        (&[21214, 21216, 60410], rejected(Reason::Blocked)),
        (&[21612, 21617, 21619, 21603, 21624, 60203, 90007], rejected(Reason::Request)),
        (
            &[
                21408, 21215, 13227, 32205, 21212, 21606, 21657, 21659, 21660, 21703, 21704, 21705, 21210,
                21267, 21608, 21219,
            ],
            Some(Outcome::Misconfigured(RefusalScope::Narrow)),
        ),
        (&[20003, 20404, 20005, 21609, 63038], Some(Outcome::Misconfigured(RefusalScope::Account))),
        (&[20429, 21611], Some(Outcome::Throttled { retry_after: None })),
        (&[1], None),
    ] {
        for code in codes {
            assert_eq!(outcome_of_code(*code), expected, "{code}");
        }
    }
    for (codes, expected) in [
        (&[30003, 30453, 30485][..], Reason::Unreachable),
        (&[30005], Reason::InvalidNumber),
        (&[30006], Reason::Landline),
        (&[30004, 30038, 30450], Reason::Blocked),
        (&[30007], Reason::Content),
        (&[30001, 30017, 30022, 30023, 30035, 30410, 30500, 14107], Reason::Congestion),
        (&[30036], Reason::CarrierExpired),
        (&[30002, 30037, 30454, 63038], Reason::Account),
        (&[30010, 30018, 30024, 30032, 30033, 30034, 30040, 30041, 30042], Reason::Permission),
        (&[21610], Reason::OptedOut),
        (&[1], Reason::Unexplained),
    ] {
        for code in codes {
            assert_eq!(reason_of(*code), expected, "{code}");
        }
    }
}

/// Fails if a number that had too many is retried like a busy carrier, or if an unknown code counts as known.
#[test]
fn a_code_beats_the_status_429() {
    let judge =
        |code: i64| account().judge(Channel::Sms, &answer(429, &format!("{{\"code\": {code}}}"))).outcome;
    assert_eq!(judge(60203), Outcome::Rejected(Reason::Request));
    assert_eq!(judge(63038), Outcome::Misconfigured(RefusalScope::Account));
    assert_eq!(judge(20429), Outcome::Throttled { retry_after: None });
    assert_eq!(judge(20001), Outcome::Throttled { retry_after: None }, "an unknown code");
    assert!(account().knows_code("60203") && !account().knows_code("20001") && !account().knows_code("x"));
}

#[test]
fn an_error_keeps_its_code_and_its_pause() {
    let judge = |status, body: &str, wait: Option<&str>| {
        let mut answer = answer(status, body);
        if let Some(wait) = wait {
            answer.headers.insert("retry-after", wait.parse().unwrap());
        }
        account().judge(Channel::Sms, &answer)
    };
    let landline = judge(400, "{\"code\": 21614}", None);
    assert_eq!(landline.details.carrier_code.as_deref(), Some("21614"));
    let throttled = Outcome::Throttled { retry_after: Some(Duration::from_secs(7)) };
    assert_eq!(judge(400, "{\"code\": 21611}", Some("7")).outcome, throttled);
    assert_eq!(judge(429, "{\"code\": 20429}", Some("7")).outcome, throttled);
    assert_eq!(
        judge(429, "{\"code\": 21614}", Some("7")).outcome,
        throttled,
        "status 429 takes precedence over the code"
    );
    for (status, body) in [
        (400, "{\"code\": 20003}"),
        (429, "{\"code\": 63038}"),
        (400, "{\"code\": 21609}"),
        (403, "{\"code\": 99999}"),
    ] {
        assert_eq!(
            judge(status, body, Some("7")).outcome,
            Outcome::Misconfigured(RefusalScope::Account),
            "{status} {body}"
        );
    }
}

#[test]
fn an_operator_is_told_which_key_to_check() {
    let told = |account: &Twilio, status, body: &str| {
        account.advice(&account.judge(Channel::Sms, &answer(status, body)))
    };
    for (status, body, key) in [
        (400, "{\"code\": 21609}", "receipts.public_url"),
        (429, "{\"code\": 63038}", "daily limit"),
        (401, "{\"code\": 20003}", "account_sid and auth_token"),
        (401, "", "account_sid and auth_token"),
        (400, "{\"code\": 21408}", "geographic permissions"),
        (400, "{\"code\": 21606}", "check from"),
        (400, "{\"code\": 21608}", "trial account"),
    ] {
        let advice = told(&account(), status, body);
        assert!(advice.contains(key), "{status} {body}: {advice}");
    }
}

#[test]
fn an_api_key_logs_in_and_either_token_verifies_a_callback() {
    let config = Config {
        api_key_sid: Some("SK0123456789abcdef0123456789abcdef".to_owned()),
        api_key_secret: Some("key-secret".into()),
        other_auth_token: Some("67890".into()),
        ..account().config
    };
    let account = Twilio::new(config.clone()).unwrap();
    let request = account.status_request(Channel::Sms, "SM1").unwrap();
    assert!(
        matches!(request.auth, Auth::Basic(user, secret) if user.starts_with("SK") && *secret == "key-secret")
    );
    assert!(request.url.contains("/Accounts/ACaaaaaaaa"), "{}", request.url);
    let pairs = form(&[("MessageSid", "SM1"), ("MessageStatus", "delivered")]);
    for (token, is_good) in [("12345", true), ("67890", true), ("key-secret", false)] {
        let mut headers = HeaderMap::new();
        headers.insert("x-twilio-signature", signature(token, "https://h/r", &pairs).parse().unwrap());
        let callback = Callback {
            url: "https://h/r",
            query: "",
            headers: &headers,
            body: b"MessageSid=SM1&MessageStatus=delivered",
        };
        assert_eq!(account.parse_callback(&callback).is_ok(), is_good, "{token}");
    }
    for half in [Config { api_key_secret: None, ..config.clone() }, Config { api_key_sid: None, ..config }] {
        assert!(Twilio::new(half).err().unwrap().contains("both api_key_sid and api_key_secret"));
    }
}

#[test]
fn calls_need_a_number_to_call_from() {
    let config = |from: Option<&str>, voice_from: Option<&str>| Config {
        from: from.map(str::to_owned),
        voice_from: voice_from.map(str::to_owned),
        messaging_service_sid: Some("MG1".to_owned()),
        ..account().config
    };
    for (from, voice_from, calls) in
        [(None, None, false), (Some("+15005550006"), None, true), (None, Some("+15005550006"), true)]
    {
        let account = Twilio::new(config(from, voice_from)).unwrap();
        assert_eq!(account.carries(Channel::Voice), calls, "{from:?} {voice_from:?}");
        assert!(account.carries(Channel::Sms) && !account.keeps_references(Channel::Sms));
    }
    assert_eq!(account().config.base_url(), "https://api.example");
    assert_eq!(account().config.min_life(), MIN_VALIDITY);
    assert_eq!(api(), "https://api.twilio.com");
}

#[test]
fn a_tenants_sender_is_a_number_or_a_messaging_service() {
    let to = PhoneNumber::parse("+447700900123").unwrap();
    let text = RenderedMessage::Text(Zeroizing::new("Your code: 4815".to_owned()));
    let body = |sender| {
        let life = Duration::from_secs(60);
        let (channel, reference, callback) = (Channel::Sms, "x-1", None);
        let message = OutboundMessage {
            channel,
            to: &to,
            content: &text,
            sender: Some(sender),
            life,
            reference,
            callback,
            speech_url: None,
        };
        account().build(&message).unwrap().body
    };
    assert!(body("MG123").contains("MessagingServiceSid=MG123") && !body("MG123").contains("From="));
    assert!(body("SHOP").contains("From=SHOP") && !body("SHOP").contains("MessagingServiceSid"));
}

#[test]
fn a_failed_call_is_unreachable_unless_there_is_no_such_number() {
    let reason = |status, sip| {
        let report =
            CallReport { status, key: false, is_after_key: false, answered_by: None, sip, sid: None };
        report.receipt().and_then(|receipt| receipt.reason)
    };
    assert_eq!(reason("failed", Some("404")), Some(Reason::InvalidNumber));
    assert_eq!(reason("failed", Some("503")), Some(Reason::Unreachable));
    assert_eq!(reason("failed", None), Some(Reason::Unreachable));
    assert_eq!(reason("canceled", None), Some(Reason::Unreachable));
}
