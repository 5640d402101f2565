//! Calls over Twilio's Calls API.

use serde_json::json;

use crate::setup::{FROM, Reply, TWIML, TestSetup, answer};

const TO: &str = "+447700900100";

#[tokio::test]
async fn a_call_rings_is_answered_and_completes_in_numbered_callbacks() {
    let mut setup = TestSetup::start().await;
    let (status, body) = answer(setup.call(TO, &[])).await;
    assert_eq!((status, &body["status"]), (201, &json!("queued")));
    let sid = body["sid"].as_str().unwrap();
    assert!(sid.starts_with("CA") && sid.len() == 34);
    assert_eq!(body["from_formatted"], "(500) 555-0006");
    assert_eq!((&body["duration"], &body["answered_by"]), (&json!(null), &json!(null)));

    for (number, status) in ["initiated", "ringing", "in-progress"].into_iter().enumerate() {
        let callback = setup.receiver.next().await;
        assert_eq!((callback.status(), callback.get("CallDuration")), (status, None));
        assert_eq!(callback.get("SequenceNumber"), Some(&*number.to_string()));
    }
    let end = setup.receiver.next().await;
    for (name, value) in [
        ("CallSid", sid),
        ("AccountSid", &setup.config.account_sid),
        ("From", FROM),
        ("Caller", FROM),
        ("To", TO),
        ("Called", TO),
        ("Direction", "outbound-api"),
        ("ApiVersion", "2010-04-01"),
        ("CallStatus", "completed"),
        ("CallbackSource", "call-progress-events"),
        ("SequenceNumber", "3"),
        ("CallDuration", "12"),
        ("Duration", "1"),
        ("SipResponseCode", "200"),
        ("ToCity", ""),
    ] {
        assert_eq!(end.get(name), Some(value), "{name}");
    }
    assert!(end.get("Timestamp").unwrap().ends_with(" +0000"));
    assert_eq!(end.get("AnsweredBy"), None);

    let read = setup.client.get(setup.account(&format!("Calls/{sid}.json")));
    let (_, read) = answer(read.basic_auth(&setup.config.account_sid, Some(&setup.config.auth_token))).await;
    assert_eq!((&read["status"], &read["duration"]), (&json!("completed"), &json!("12")));
    assert!(read["end_time"].is_string());
}

#[tokio::test]
async fn only_the_final_event_is_reported_by_default() {
    let mut setup = TestSetup::start().await;
    let status_callback = setup.receiver.url.clone();
    let form = [("To", TO), ("From", FROM), ("Twiml", TWIML), ("StatusCallback", &status_callback)];
    for (events, states) in
        [(&[][..], &["completed"][..]), (&["answered", "ringing"], &["ringing", "in-progress"])]
    {
        let events: Vec<_> = events.iter().map(|event| ("StatusCallbackEvent", *event)).collect();
        answer(setup.post("Calls.json", &[&form[..], &events[..]].concat())).await;
        for (number, state) in states.iter().enumerate() {
            let callback = setup.receiver.next().await;
            assert_eq!(
                (callback.status(), callback.get("SequenceNumber")),
                (*state, Some(&*number.to_string()))
            );
        }
        setup.until(|newest| newest["status"] == "completed").await;
    }
    assert!(setup.receiver.arrived_already().is_none());
}

#[tokio::test]
async fn the_record_has_the_transcript() {
    let setup = TestSetup::start().await;
    answer(setup.call(TO, &[])).await;
    let entry = setup.entries("accepted").await.pop().unwrap();
    assert_eq!(entry["transcript"], "Your code is: 1. 2. 3. 4. (pause 1 s)");
    assert_eq!(
        (&entry["language"], &entry["channel"], &entry["body"]),
        (&json!("en-GB"), &json!("voice"), &json!(null))
    );
}

/// A person presses a key, a machine does not, and a person who ends in 0125 does not either.
#[tokio::test]
async fn a_pressed_key_continues_the_call_with_the_answer_of_the_action() {
    let mut setup = TestSetup::start().await;
    let action = setup.receiver.url.replace('&', "&amp;");
    let twiml = format!(
        "<Response><Gather numDigits=\"1\" action=\"{action}\"><Say>Press a key.</Say></Gather><Hangup/></Response>"
    );
    for (to, is_pressed) in [("+447700900100", true), ("+447700900124", false), ("+447700900125", false)] {
        if is_pressed {
            setup.receiver.reply(&[Reply::Body("<Response><Say language=\"de-DE\">Vier.</Say></Response>")]);
        }
        answer(setup.post("Calls.json", &[("To", to), ("From", FROM), ("Twiml", &twiml)])).await;
        let call = setup.until(|newest| newest["status"] == "completed" && newest["to"] == to).await;
        let pressed = setup.receiver.arrived_already();
        assert_eq!(pressed.is_some(), is_pressed, "{to}");
        let expected = if is_pressed { " (a key is pressed) Vier." } else { "" };
        assert_eq!(call["transcript"], format!("Press a key. (waits for keys){expected}"), "{to}");
        let Some(pressed) = pressed else { continue };
        assert_eq!((pressed.get("Digits"), pressed.get("CallStatus")), (Some("1"), Some("in-progress")));
        assert_eq!((pressed.get("CallSid"), &call["language"]), (call["sid"].as_str(), &json!("de-DE")));
        assert!(!pressed.header("x-twilio-signature").is_empty());
    }
    // Without TwiML in the answer the record says why nothing was heard.
    setup.receiver.reply(&[Reply::Status(500)]);
    answer(setup.post("Calls.json", &[("To", TO), ("From", FROM), ("Twiml", &twiml)])).await;
    let call = setup.until(|newest| newest["status"] == "completed" && newest["to"] == TO).await;
    assert!(call["transcript"].as_str().unwrap().contains("(no speech: the answer is 500"), "{call}");
}

#[tokio::test]
async fn magic_numbers_give_each_result_of_a_call() {
    let mut setup = TestSetup::start().await;
    for (ends, status, sip, seconds, ring) in [
        ("0121", "busy", "486", "0", true),
        ("0122", "no-answer", "487", "0", true),
        ("0123", "failed", "404", "0", false),
        ("0124", "completed", "200", "12", true),
    ] {
        answer(setup.call(&format!("+44770090{ends}"), &[])).await;
        let mut callback = setup.receiver.next().await;
        let mut rang = false;
        while callback.get("CallDuration").is_none() {
            rang |= callback.status() == "ringing";
            callback = setup.receiver.next().await;
        }
        assert_eq!((callback.status(), callback.get("SipResponseCode")), (status, Some(sip)), "{ends}");
        assert_eq!(
            (callback.get("CallDuration"), callback.get("AnsweredBy")),
            (Some(seconds), None),
            "{ends}"
        );
        assert_eq!(rang, ring, "{ends}");
    }
}

#[tokio::test]
async fn answered_by_is_reported_only_with_machine_detection() {
    let mut setup = TestSetup::start().await;
    let end = [("StatusCallbackEvent", "completed")];
    for (to, detection, expected) in [
        ("+447700900124", Some("Enable"), Some("machine_start")),
        ("+447700900124", Some("DetectMessageEnd"), Some("machine_end_beep")),
        ("+447700900124", None, None),
        (TO, Some("Enable"), Some("human")),
    ] {
        let form = [("To", to), ("From", FROM), ("Twiml", TWIML), ("StatusCallback", &setup.receiver.url)];
        let detection: Vec<_> = detection.map(|value| ("MachineDetection", value)).into_iter().collect();
        let (_, body) =
            answer(setup.post("Calls.json", &[&form[..], &end[..], &detection[..]].concat())).await;
        assert_eq!(body["answered_by"], json!(null));
        assert_eq!(setup.receiver.next().await.get("AnsweredBy"), expected, "{to}");
    }
}

#[tokio::test]
async fn a_number_that_is_magic_for_one_channel_is_plain_for_the_other() {
    let mut setup = TestSetup::start().await;
    for ends in ["0121", "0122", "0123", "0124"] {
        answer(setup.text(&format!("+44770090{ends}"))).await;
        assert_eq!(setup.receiver.states(2).await, ["sent", "delivered"], "{ends}");
    }
    for ends in ["0102", "0103", "0104", "0110", "0111", "0112", "0117", "0118"] {
        assert_eq!(answer(setup.call(&format!("+44770090{ends}"), &[])).await.0, 201, "{ends}");
        assert_eq!(setup.receiver.states(4).await[3], "completed", "{ends}");
    }
}

#[tokio::test]
async fn wrong_parameters_are_refused_with_twilios_codes() {
    let setup = TestSetup::start().await;
    let long = format!("<Response><Say>{}</Say></Response>", "a".repeat(4000));
    let good = [("To", TO), ("From", FROM), ("Twiml", TWIML)];
    for (name, value, code) in [
        ("To", "", 21201),
        ("To", "447700900100", 21211),
        ("From", "", 21213),
        ("From", "ACME", 21212),
        ("Twiml", "", 21205),
        ("Twiml", &long, 32018),
        ("Twiml", "<Response><Say>1 & 2</Say></Response>", 12100),
        ("Twiml", "<Response><Shout>1</Shout></Response>", 12200),
        ("StatusCallbackEvent", "hungup", 21626),
        ("MachineDetection", "Maybe", 20001),
        ("StatusCallback", "nowhere", 21609),
    ] {
        let mut form: Vec<_> = good.iter().copied().filter(|(other, _)| *other != name).collect();
        form.push((name, value));
        let (status, body) = answer(setup.post("Calls.json", &form)).await;
        assert_eq!((status, &body["code"]), (400, &json!(code)), "{name}={value}");
    }
    assert_eq!(setup.entries("accepted").await.len(), 0);
    assert_eq!(answer(setup.post("Calls.json", &good)).await.0, 201);
}

#[tokio::test]
async fn a_call_is_not_read_as_a_message() {
    let setup = TestSetup::start().await;
    let (_, body) = answer(setup.call(TO, &[])).await;
    let sid = body["sid"].as_str().unwrap();
    for (path, expected) in [("Calls", 200), ("Messages", 404)] {
        let read = setup.client.get(setup.account(&format!("{path}/{sid}.json")));
        let read = read.basic_auth(&setup.config.account_sid, Some(&setup.config.auth_token));
        assert_eq!(answer(read).await.0, expected);
    }
}
