use super::{Config, DEFAULT};
use crate::domain::channel::Channel;
use crate::domain::decide::UnknownPolicy;

#[test]
fn the_commented_default_is_the_default() {
    let read = format!("{:?}", Config::parse(DEFAULT).unwrap());
    let default = Config {
        ledger: super::LedgerConfig { url: Some("x".into()), ..Default::default() },
        ..Config::default()
    };
    assert_eq!(read, format!("{default:?}"));
}

#[test]
fn errors_name_line_and_key_and_quote_no_value() {
    for (text, has) in [
        ("[ledger]\nurll = \"QUOTED\"", "line 2, ledger.urll: unknown field `urll`"),
        ("[worker]\n\nslots = \"QUOTED\"", "line 3, worker.slots: the value has the wrong type or format"),
        ("[limits]\nnumber = [\"QUOTED\"]", "line 2, limits.number: a quota is written"),
        ("[log]\nformat = \"QUOTED\"", "the word is unknown; expected"),
        (
            "[numbers]\ncountries = [\n  \"GB\",\n  \"UK\",\n]",
            "numbers.countries: the United Kingdom is GB, not UK",
        ),
        (
            "[numbers]\nblocked_countries = [\"XX\"]",
            "line 2, numbers.blocked_countries: a country is written",
        ),
        ("[routes.countries.uk]\nsms = []", "routes.countries.uk: the United Kingdom is GB"),
        (
            "[routes.countries.gb]\nsms = []\n[routes.countries.GB]\nsms = []",
            "GB is written twice, in capital and in small letters",
        ),
        ("[routes.countries]\ngb.sms = []\nGb.sms = []", "GB is written twice"),
        ("[[nonsense", "line 1"),
    ] {
        let e = Config::parse(text).unwrap_err().to_string();
        assert!(e.contains(has), "{e}");
        assert!(!e.contains("QUOTED"), "{e}");
    }
}

#[test]
fn dead_letters_stay_for_some_days_and_not_for_ever() {
    for (days, is_good) in [(0, false), (1, true), (49, true), (50, false)] {
        let config = Config::parse(&format!("[amqp]\ndead_letter_days = {days}")).unwrap();
        let checked = config.check().map_err(|e| e.to_string());
        let refused = Err("amqp.dead_letter_days must be 1 to 49".to_owned());
        assert_eq!(checked, if is_good { Ok(()) } else { refused }, "{days}");
    }
}

/// Fails if rows may be deleted while receipts or repeated jobs may still come.
#[test]
fn final_rows_stay_for_at_least_three_days() {
    for (days, is_good) in [(0, false), (2, false), (3, true), (365, true)] {
        let config = Config::parse(&format!("[ledger]\nretention_days = {days}")).unwrap();
        let refused = config.check().err().map(|e| e.to_string());
        assert_eq!(refused.is_none(), is_good, "{days}: {refused:?}");
        assert!(
            refused.is_none_or(|why| why.starts_with("ledger.retention_days must be at least 3")),
            "{days}"
        );
    }
}

#[test]
fn roots_have_ids_of_their_own() {
    let hex = crate::seal::Root::random("x").to_hex();
    let config = |id: &str| {
        let text = format!(
            "[keys]\nroot = \"{0}\"\nhash_root = \"{0}\"\nprevious = [{{ id = \"{id}\", root = \"{0}\" }}]",
            hex.as_str()
        );
        Config::parse(&text).unwrap().keys()
    };
    assert!(config("k0").is_ok());
    let why = config("k1").unwrap_err().to_string();
    assert!(why.contains("must differ"), "{why}");
}

#[test]
fn a_route_to_nowhere_is_found_by_the_check() {
    let config = Config::parse("[routes]\nsms = [\"nobody\"]").unwrap();
    let why = config.check().unwrap_err().to_string();
    assert_eq!(why, "routes.sms names the carrier nobody, which has no section [carriers.nobody]");
}

#[test]
fn a_section_by_channel_has_a_key_for_every_channel() {
    for channel in Channel::ALL {
        let text = format!(
            "[routes]\n{channel} = [\"a\"]\n[routes.countries.DE]\n{channel} = [\"b\"]\n\
             [carriers.a]\nunknown_{channel} = \"never\"\n\
             [tenants.shop]\n{channel} = [\"7/1h\"]\nsenders.a = {{ {channel} = \"SHOP\" }}"
        );
        let config = Config::parse(&text).unwrap();
        assert_eq!(config.routes.carriers(*channel, None), ["a"]);
        assert_eq!(config.routes.carriers(*channel, Some("DE")), ["b"]);
        assert_eq!(config.carriers["a"].unknown[channel], UnknownPolicy::Never);
        assert_eq!(config.sender("shop", "a", *channel), Some("SHOP"));
        assert_eq!(config.channel_rules("shop", *channel), Some(&["7/1h".parse().unwrap()][..]));
    }
    let why = |text: &str| Config::parse(text).unwrap_err().to_string();
    let misspelt = why("[routes]\nsms = []\nvoise = []");
    assert!(
        misspelt.starts_with("line 3, routes.voise: unknown field `voise`, expected one of `sms`,"),
        "{misspelt}"
    );
    assert!(misspelt.ends_with("; did you mean voice?"), "{misspelt}");
    for (text, key) in [
        ("[routes.countries.DE]\nvoise = []", "routes.countries.DE.voise"),
        ("[tenants.shop]\nsenders.a = { voise = \"SHOP\" }", "tenants.shop.senders.a"),
    ] {
        let expected =
            format!("line 2, {key}: the word is unknown; expected `sms` or `voice`; did you mean voice?");
        assert!(why(text).starts_with(&expected), "{}", why(text));
    }
    let misspelt = why("[carriers.a]\nunknown_voic = \"wait\"");
    assert!(misspelt.ends_with("did you mean unknown_voice?"), "{misspelt}");
    assert!(
        why("[limits]\nvoice = 3")
            .starts_with("line 2, limits.voice: the value has the wrong type or format")
    );
    let unsupported = Config::parse("[limits]\nsms = [\"3/1h\"]").unwrap().check().unwrap_err();
    assert!(unsupported.to_string().contains("limits.number"), "{unsupported}");
}

#[test]
fn a_misspelt_key_gets_a_hint() {
    let why = |text: &str| Config::parse(text).unwrap_err().to_string();
    assert!(why("[ledger]\nretention_dais = 3").ends_with("; did you mean retention_days?"));
    assert!(why("[carier.main]").contains("did you mean carriers?"), "{}", why("[carier.main]"));
    assert!(!why("[ledger]\nzzz = 3").contains("did you mean"));
}

#[test]
fn relative_paths_are_those_of_the_files_folder() {
    let folder = std::env::temp_dir().join(format!("otpost-config-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    let root = crate::seal::Root::random("k1").to_hex();
    std::fs::write(folder.join("root"), root.as_str()).unwrap();
    let file = folder.join("otpost.toml");
    std::fs::write(&file, "[keys]\nroot_file = \"root\"\n").unwrap();
    let config = Config::load(Some(&file));
    let ledger = |text: &str| {
        std::fs::write(&file, format!("[ledger]\n{text}\n[keys]\nroot_file = \"root\"\n")).unwrap();
        Config::load(Some(&file)).unwrap().ledger_url().to_owned()
    };
    for text in ["", "url = \"sqlite:otpost.db\""] {
        assert_eq!(ledger(text), format!("sqlite:{}/otpost.db", folder.display()));
    }
    assert_eq!(ledger("url = \"sqlite:/var/lib/otpost.db\""), "sqlite:/var/lib/otpost.db");
    assert_eq!(ledger("url = \"postgres://u@h/d\""), "postgres://u@h/d");
    std::fs::remove_file(folder.join("root")).unwrap();
    let missing = Config::load(Some(&file)).unwrap_err().to_string();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(config.unwrap().keys().is_ok());
    assert!(missing.contains("keys.root_file") && missing.contains("there is no such file"), "{missing}");
    assert!(missing.ends_with("create one with: otpost keys root"), "{missing}");
}

#[test]
fn an_empty_secret_is_refused() {
    let folder = std::env::temp_dir().join(format!("otpost-config-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    let (file, secret) = (folder.join("otpost.toml"), folder.join("secret"));
    let load = |section: &str, content: &str| {
        std::fs::write(&file, section).unwrap();
        std::fs::write(&secret, content).unwrap();
        Config::load(Some(&file)).map_err(|e| e.to_string())
    };
    for (section, key) in [
        ("[ops]\ntoken_file = \"secret\"\nlisten = \"0.0.0.0:8082\"", "ops.token_file: "),
        ("[keys]\nroot_file = \"secret\"", "keys.root_file: "),
        (
            "[carriers.a.twilio]\naccount_sid = \"ACx\"\nother_auth_token_file = \"secret\"",
            "other_auth_token_file: ",
        ),
        (
            "[tenants.a.webhook]\nprevious_secret_file = \"secret\"",
            "tenants.a.webhook.previous_secret_file: ",
        ),
    ] {
        for content in ["", "\n", " \t\r\n", "\u{feff}\n"] {
            let why = load(section, content).map(drop).unwrap_err();
            assert!(why.contains(key) && why.contains("secret is empty"), "{section} {content:?}: {why}");
        }
    }
    for (section, key) in [
        ("[ops]\ntoken = \"\"", "ops.token is empty"),
        ("[ops]\ntoken = \" \"", "ops.token is empty"),
        ("[ledger]\nurl = \"\"", "ledger.url is empty"),
        ("[carriers.a.infobip]\nbase_url = \"https://h\"\napi_key = \"\"\nfrom = \"x\"", "api_key is empty"),
    ] {
        let why = load(section, "").map(drop).unwrap_err();
        assert!(why.contains(key), "{section}: {why}");
    }
    let token = load("[ops]\ntoken_file = \"secret\"", "\u{feff}a b\r\n").unwrap().ops.token.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(&token), "a b");
}

#[test]
fn a_file_with_a_secret_that_every_user_can_read_is_noted() {
    use std::os::unix::fs::PermissionsExt;
    let folder = std::env::temp_dir().join(format!("otpost-config-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    let (file, secret) = (folder.join("otpost.toml"), folder.join("secret"));
    let write = |file: &std::path::Path, text: &str, mode: u32| {
        std::fs::write(file, text).unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let notes = |text: &str, mode: u32| {
        write(&file, text, mode);
        Config::load(Some(&file)).unwrap().notes
    };
    write(&secret, "x", 0o640);
    for (text, key) in [
        ("[ops]\ntoken = \"x\"", "ops.token"),
        ("[ledger]\nurl = \"postgres://u:p@h/d\"", "ledger.url"),
        ("[ledger]\nurl = \"postgres://u@h/d?password=p\"", "ledger.url"),
        ("[amqp]\nurl = \"amqp://h1, amqp://u:p@h2\"", "amqp.url"),
        (
            "[carriers.a]\nproxy = \"http://u:p@h:1\"\n[carriers.a.twilio]\naccount_sid = \"AC1\"\nauth_token_file = \"secret\"",
            "carriers.a.proxy",
        ),
    ] {
        let expected =
            format!("{key}: every user of this machine can read {}; use chmod 600", file.display());
        assert_eq!(notes(text, 0o644), [expected]);
        for mode in [0o600, 0o640] {
            assert!(notes(text, mode).is_empty(), "{text} {mode:o}");
        }
    }
    for text in ["", "[ledger]\nurl = \"postgres://u@h:1/d\"", "[ops]\ntoken_file = \"secret\"", DEFAULT] {
        assert!(notes(text, 0o644).is_empty(), "{text}");
    }
    write(&secret, "x", 0o604);
    let told = notes("[ops]\ntoken_file = \"secret\"", 0o644);
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(told.len() == 1 && told[0].starts_with("ops.token_file: every user"), "{told:?}");
}
