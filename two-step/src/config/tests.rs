use super::*;

fn parse(text: &str) -> Result<Config, BadConfig> {
    let config = Config::parse(text)?;
    config.check()?;
    Ok(config)
}

#[test]
fn the_default_file_equals_the_default_configuration() {
    let config = parse(DEFAULT).unwrap();
    assert_eq!(config.public_url, PublicUrl::default());
    assert_eq!(format!("{:?}", config.limits), format!("{:?}", Limits::default()));
    assert_eq!(config.warnings(), Vec::<String>::new());
}

#[test]
fn an_error_names_the_key_and_not_the_value() {
    for (text, says) in [
        ("pubic_url = 'QUOTED'", "unknown field"),
        ("public_url = 'http://shop.example/QUOTED'", "public_url must be https"),
        ("public_url = 'https://shop.example/QUOTED'", "without a path"),
        ("code.life = 'QUOTED'", "a duration must be written like"),
        ("code.life = '40m'\nchallenge.life = '50m'", "code.life must be from 1m to 30m"),
        ("limits.mails = ['QUOTED']", "a limit is written N/window"),
        ("[products.shop]\nname = 'Shop'", "countries is required"),
        ("[products.shop]\nname = 'Shop'\ncountries = ['GB', 'QQ']", "entry 2 is not an ISO 3166 code"),
        (
            "[products.shop]\nname = 'Shop'\ncountries = ['GB']\nreturn_urls = ['http://shop.example/QUOTED']",
            "must be https",
        ),
        (
            "[products.shop]\nname = 'Shop'\ncountries = ['GB']\nhome_url = 'http://shop.example/QUOTED'",
            "home_url must be https",
        ),
        (
            "[products.shop]\nname = 'Shop'\ncountries = ['GB']\nnew_device_check = 'email'",
            "set smtp.url_file",
        ),
        ("email.second_step = true", "set smtp.url_file"),
        ("ops.listen = '0.0.0.0:1'", "ops.token_file"),
        ("database.url = 'postgres://u:QUOTED@tail@db/x'", "database.url"),
        (
            "database.url = 'postgres://u:QUOTED@db/x?sslmode=allow'",
            "database.url has an sslmode that is not supported",
        ),
        ("database.url = 'postgres://u:QUOTED@db/x?schema=s'", "database.url has the parameter schema"),
        ("database.url = 'QUOTED://x'", "must begin with postgres:// or sqlite:"),
        ("pages.listen = '127.0.0.1:8092'", "must differ"),
    ] {
        let e = parse(text).unwrap_err().to_string();
        assert!(e.contains(says) && !e.contains("QUOTED"), "{text}: {e}");
    }
}

#[test]
fn settings_below_the_standards_give_warnings() {
    let config = parse(
        "code.life = '20m'\nsmtp.url = 'smtp://127.0.0.1:1'\nemail.second_step = true\ntrust.life = 'until_sign_out'\nsupport.delay = '0s'",
    )
    .unwrap();
    assert_eq!(config.warnings().len(), 4);
}

#[test]
fn a_webhook_needs_a_valid_secret_and_an_https_url() {
    const LONG: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
    let webhook = |url: &str, secret: &str| {
        parse(&format!(
            "[products.shop]\nname = 'Shop'\ncountries = ['GB']\nwebhook = {{ url = '{url}', secret = '{secret}' }}"
        ))
    };
    assert_eq!(webhook("https://shop.example/events?id=1", LONG).map(drop), Ok(()));
    assert_eq!(webhook("http://127.0.0.1:1/", LONG).map(drop), Ok(()));
    for (url, secret, says) in [
        ("http://shop.example/QUOTED", LONG, "webhook.url must be https"),
        ("QUOTED", LONG, "webhook.url must be https"),
        ("https://shop.example/", "", "webhook.secret must be whsec_"),
        ("https://shop.example/", "whsec_", "webhook.secret must be whsec_"),
        ("https://shop.example/", "whsec_QUOTED", "webhook.secret must be whsec_"),
        ("https://shop.example/", &LONG[6..], "webhook.secret must be whsec_"),
        ("https://shop.example/", &LONG[..38 - 4], "webhook.secret must be whsec_"),
    ] {
        let e = webhook(url, secret).unwrap_err().to_string();
        assert!(e.contains(says) && !e.contains("QUOTED"), "{url} {secret}: {e}");
    }
}

#[test]
fn a_colour_is_six_hexadecimal_digits() {
    let product = |colour: &str| {
        parse(&format!("[products.shop]\nname = 'Shop'\ncountries = ['GB']\ncolour = '{colour}'")).map(drop)
    };
    assert_eq!(product("#1A5fb4"), Ok(()));
    for bad in ["1a5fb4", "#1a5fb", "#1a5fbg", "red", "", "#1a5fb4;"] {
        assert!(product(bad).unwrap_err().to_string().contains("colour must be # and six"), "{bad}");
    }
}

#[test]
fn the_public_url_has_the_form_of_an_origin() {
    for (text, origin) in [
        ("https://Verify.Shop.example:443/", "https://verify.shop.example"),
        ("https://verify.shop.example:8443", "https://verify.shop.example:8443"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("http://LOCALHOST:8090", "http://localhost:8090"),
    ] {
        assert_eq!(PublicUrl::try_from(text.to_owned()).unwrap().as_str(), origin);
    }
}

#[test]
fn an_empty_secret_is_refused() {
    let file = std::env::temp_dir().join(format!("two-step-secret-{}", uuid::Uuid::now_v7()));
    let read = |content: &str| {
        std::fs::write(&file, content).unwrap();
        let mut token = None;
        read_file("ops.token", &mut token, Some(&file)).map(|()| token.unwrap().expose_secret().to_owned())
    };
    for content in ["", " \r\n", "\u{feff}"] {
        let why = read(content).unwrap_err().to_string();
        assert!(why.starts_with("ops.token_file: ") && why.ends_with(" is empty"), "{content:?}: {why}");
    }
    assert_eq!(read("\u{feff}token\r\n").unwrap(), "token");
    std::fs::remove_file(&file).unwrap();
    for (value, is_good) in [("", false), (" ", false), ("token", true)] {
        assert_eq!(read_file("ops.token", &mut Some(value.into()), None).is_ok(), is_good, "{value:?}");
    }
}
