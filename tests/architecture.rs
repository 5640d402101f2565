//! Who may import whom, and which library is known where. The rules are the project's design, section "The parts".
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PURE: &[&str] = &["attempt", "backoff", "clock", "dispatch", "next", "quota", "seal", "words"];
const SEAMS: &[&str] = &["ledger", "broker", "carrier", "message"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push(path);
        }
    }
    all.sort();
    all
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The module that a file belongs to: the first part of its path under `src`.
fn module(path: &Path) -> String {
    let inside = path.strip_prefix(src()).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The modules of this crate that a file names, comments left out.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String =
        text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
        found.insert(name);
    }
    found
}

fn check(modules: &[&str], may: impl Fn(&str) -> bool) {
    let mut wrong = vec![];
    for path in sources(&src()) {
        let own = module(&path);
        if !modules.contains(&own.as_str()) {
            continue;
        }
        for import in imports(&fs::read_to_string(&path).unwrap()) {
            if !import.is_empty() && import != own && !may(&import) {
                wrong.push(format!("{} imports {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pure_types_import_only_pure_types() {
    check(PURE, |import| PURE.contains(&import));
}

#[test]
fn seams_import_pure_types_and_not_each_other() {
    check(SEAMS, |import| PURE.contains(&import));
}

#[test]
fn worker_and_api_do_not_import_each_other() {
    let above = ["app", "cli"];
    check(&["worker", "due"], |import| import != "api" && !above.contains(&import));
    check(&["api"], |import| !["worker", "due", "contracts"].contains(&import) && !above.contains(&import));
    check(
        &[
            "act",
            "cloud_event",
            "envelope",
            "feed",
            "outage",
            "webhook",
            "admit",
            "route",
            "receive",
            "tell",
            "wake",
        ],
        |i| !["worker", "api", "due", "app", "cli"].contains(&i),
    );
}

#[test]
fn each_library_is_known_in_one_place() {
    let places: &[(&str, &[&str])] = &[
        ("lapin::", &["broker/"]),
        ("tokio_postgres", &["ledger/postgres", "telemetry.rs"]),
        ("rusqlite", &["ledger/sqlite/"]),
        ("reqwest::", &["carrier/client.rs", "webhook/"]),
        ("rlibphonenumber", &["dispatch/number.rs"]),
        ("minijinja", &["message/"]),
        ("utoipa", &["api/", "story.rs", "ledger/items/hook.rs", "words.rs"]),
        ("clap::", &["cli/"]),
        ("SystemTime", &[]),
        ("Timestamp::now", &["clock.rs"]),
    ];
    let mut wrong = vec![];
    for path in sources(&src()) {
        let inside = path.strip_prefix(src()).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|l| !l.trim_start().starts_with("//"));
        let code = code.collect::<Vec<_>>().join("\n");
        for (library, allowed) in places {
            if code.contains(library) && !allowed.iter().any(|a| inside.starts_with(a)) {
                wrong.push(format!("{inside} knows {library}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_mock_gateway_knows_nothing_of_otpost() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mock-gateway");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    assert!(!manifest.contains("otpost"), "{manifest}");
    for path in sources(&folder.join("src")) {
        assert!(!fs::read_to_string(&path).unwrap().contains("otpost::"), "{}", path.display());
    }
}
