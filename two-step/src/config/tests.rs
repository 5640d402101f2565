use super::*;

fn parse(text: &str) -> Result<Config, BadConfig> {
    let config = Config::parse(text)?;
    config.check()?;
    Ok(config)
}

#[test]
fn the_commented_default_is_the_default() {
    let config = parse(DEFAULT).unwrap();
    assert_eq!(config.public_url, PublicUrl::default());
    assert_eq!(format!("{:?}", config.limits), format!("{:?}", Limits::default()));
    assert_eq!(config.warnings(), Vec::<String>::new());
}

#[test]
fn a_wrong_key_or_value_is_named_without_its_value() {
    for (text, says) in [
        ("pubic_url = 'QUOTED'", "unknown field"),
        ("public_url = 'http://shop.example/QUOTED'", "public_url is https"),
        ("public_url = 'https://shop.example/QUOTED'", "without a path"),
        ("code.life = 'QUOTED'", "a time is written like"),
        ("code.life = '40m'\nchallenge.life = '50m'", "code.life must be from 1m to 30m"),
        ("limits.mails = ['QUOTED']", "a limit is written N/window"),
        ("[products.shop]\nname = 'Shop'", "countries is needed"),
        ("[products.shop]\nname = 'Shop'\ncountries = ['GB', 'QQ']", "entry 2 is no ISO 3166 code"),
        (
            "[products.shop]\nname = 'Shop'\ncountries = ['GB']\nreturn_urls = ['http://shop.example/QUOTED']",
            "must be https",
        ),
        ("ops.listen = '0.0.0.0:1'", "ops.token_file"),
    ] {
        let e = parse(text).unwrap_err().to_string();
        assert!(e.contains(says) && !e.contains("QUOTED"), "{text}: {e}");
    }
}

#[test]
fn settings_below_the_standards_warn() {
    let config = parse(
        "code.life = '20m'\nemail.second_step = true\ntrust.life = 'until_sign_out'\nsupport.delay = '0s'",
    )
    .unwrap();
    assert_eq!(config.warnings().len(), 4);
}
