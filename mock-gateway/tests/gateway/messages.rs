//! Texts over Twilio's Messages API.

use serde_json::{Value, json};

use crate::setup::{FROM, TestSetup, answer};

const TO: &str = "+447700900100";

#[tokio::test]
async fn a_text_is_answered_with_twilios_fields_and_types() {
    let setup = TestSetup::start().await;
    let response = setup.text(TO).send().await.unwrap();
    assert_eq!(response.status(), 201);
    assert!(response.headers()["twilio-request-id"].to_str().unwrap().starts_with("RQ"));
    let body: Value = response.json().await.unwrap();
    let sid = body["sid"].as_str().unwrap();
    assert!(sid.starts_with("SM") && sid.len() == 34, "{sid}");
    let created = body["date_created"].as_str().unwrap();
    assert!(created.ends_with(" +0000") && created.as_bytes()[3] == b',', "{created}");
    let account = &setup.config.account_sid;
    let uri = format!("/2010-04-01/Accounts/{account}/Messages/{sid}");
    assert_eq!(
        body,
        json!({
            "account_sid": account, "api_version": "2010-04-01", "body": "Your code is 123456",
            "date_created": created, "date_sent": null, "date_updated": created, "direction": "outbound-api",
            "error_code": null, "error_message": null, "from": FROM, "messaging_service_sid": null,
            "num_media": "0", "num_segments": "1", "price": null, "price_unit": null, "sid": sid,
            "status": "queued", "subresource_uris": {"media": format!("{uri}/Media.json")}, "to": TO,
            "uri": format!("{uri}.json"),
        })
    );
}

#[tokio::test]
async fn a_text_is_reported_as_sent_then_delivered() {
    let mut setup = TestSetup::start().await;
    let (_, body) = answer(setup.text(TO)).await;
    let sid = body["sid"].as_str().unwrap();
    let sent = setup.receiver.next().await;
    assert_eq!(sent.header("content-type"), "application/x-www-form-urlencoded; charset=UTF-8");
    assert_eq!(sent.header("user-agent"), "TwilioProxy/1.1");
    assert_eq!(sent.header("i-twilio-idempotency-token").len(), 36);
    for (name, value) in [
        ("MessageSid", sid),
        ("SmsSid", sid),
        ("MessageStatus", "sent"),
        ("SmsStatus", "sent"),
        ("AccountSid", &setup.config.account_sid),
        ("ApiVersion", "2010-04-01"),
        ("From", FROM),
        ("To", TO),
    ] {
        assert_eq!(sent.get(name), Some(value), "{name}");
    }
    assert_eq!(sent.get("ErrorCode"), None);
    assert_eq!(setup.receiver.next().await.status(), "delivered");

    let read = setup.client.get(setup.account(&format!("Messages/{sid}.json")));
    let (status, read) =
        answer(read.basic_auth(&setup.config.account_sid, Some(&setup.config.auth_token))).await;
    assert_eq!((status, &read["status"]), (200, &json!("delivered")));
    assert!(read["date_sent"].is_string());
}

#[tokio::test]
async fn a_text_through_a_messaging_service_is_accepted_first_and_queued_later() {
    let mut setup = TestSetup::start().await;
    let service = "MG00000000000000000000000000000001";
    let form = [
        ("To", TO),
        ("MessagingServiceSid", service),
        ("Body", "Hi"),
        ("StatusCallback", &setup.receiver.url),
    ];
    let (status, body) = answer(setup.post("Messages.json", &form)).await;
    assert_eq!((status, &body["status"]), (201, &json!("accepted")));
    assert_eq!(body["messaging_service_sid"], service);
    let queued = setup.receiver.next().await;
    assert_eq!((queued.status(), queued.get("MessagingServiceSid")), ("queued", Some(service)));
    assert_eq!(setup.receiver.states(2).await, ["sent", "delivered"]);
}

#[tokio::test]
async fn a_long_text_has_its_number_of_segments() {
    let setup = TestSetup::start().await;
    for (body, parts) in [("a".repeat(161), "2"), ("ж".repeat(71), "2"), ("€".repeat(80), "1")] {
        let (_, answer) =
            answer(setup.post("Messages.json", &[("To", TO), ("From", FROM), ("Body", &body)])).await;
        assert_eq!(answer["num_segments"], parts);
    }
}

#[tokio::test]
async fn wrong_parameters_are_refused_with_twilios_codes() {
    let setup = TestSetup::start().await;
    let long = "a".repeat(1601);
    let good = [("To", TO), ("From", FROM), ("Body", "Hi")];
    for (name, value, code) in [
        ("To", "", 21604),
        ("To", "07700900100", 21211),
        ("To", "+0447700900100", 21211),
        ("To", "+44 7700 900100", 21211),
        ("To", "+4477009001001234", 21211),
        ("From", "", 21603),
        ("From", "much too long a name", 21212),
        ("MessagingServiceSid", "MG1", 21701),
        ("Body", "", 21619),
        ("Body", &long, 21617),
        ("ValidityPeriod", "0", 21624),
        ("ValidityPeriod", "36001", 21624),
        ("ValidityPeriod", "soon", 90007),
        ("StatusCallback", "example.com/cb", 21609),
        ("StatusCallback", "ftp://example.com/cb", 21609),
        ("StatusCallback", "https://my_host.example.com/cb", 21609),
        ("StatusCallback", "https://example.com/cb#rp=sometimes", 11243),
    ] {
        let mut form: Vec<_> = good.iter().copied().filter(|(other, _)| *other != name).collect();
        form.push((name, value));
        let (status, body) = answer(setup.post("Messages.json", &form)).await;
        assert_eq!(
            (status, &body["code"], &body["status"]),
            (400, &json!(code), &json!(400)),
            "{name}={value}"
        );
        assert_eq!(body["more_info"], format!("https://www.twilio.com/docs/errors/{code}"));
        assert!(body["message"].is_string());
    }
    assert_eq!(setup.entries("accepted").await.len(), 0);
    assert_eq!(answer(setup.post("Messages.json", &good)).await.0, 201);
}

#[tokio::test]
async fn only_the_account_is_authorised_and_only_for_its_own_paths() {
    let setup = TestSetup::start().await;
    let form = [("To", TO), ("From", FROM), ("Body", "Hi")];
    let sid = &setup.config.account_sid;
    let wrong = setup.client.post(setup.account("Messages.json")).form(&form);
    for request in
        [wrong.try_clone().unwrap(), wrong.try_clone().unwrap().basic_auth(sid, Some("guess")), wrong]
    {
        let response = request.send().await.unwrap();
        assert!(response.headers().contains_key("www-authenticate"));
        assert_eq!(response.status(), 401);
        assert_eq!(response.json::<Value>().await.unwrap()["code"], 20003);
    }
    let other = setup.url("/2010-04-01/Accounts/AC00000000000000000000000000000002/Messages.json");
    for url in [other, setup.account("Faxes.json")] {
        let request = setup.client.post(url).form(&form).basic_auth(sid, Some(&setup.config.auth_token));
        let (status, body) = answer(request).await;
        assert_eq!((status, &body["code"]), (404, &json!(20404)));
    }
    let unknown = setup.client.get(setup.account("Messages/SM00000000000000000000000000000000.json"));
    let (status, _) = answer(unknown.basic_auth(sid, Some(&setup.config.auth_token))).await;
    assert_eq!(status, 404);
}
