//! Who may import whom, and which library is known where. The rules are the project's design, section "The parts".
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PURE: &[&str] = &["attempt", "backoff", "clock", "dispatch", "next", "quota", "seal", "words"];
const SEAMS: &[&str] = &["ledger", "broker", "carrier", "message"];

/// Every module, and what it may import; `PURE` stands for all of these.
const MODULES: &[(&str, &[&str])] = &[
    // What is pure.
    ("attempt", &["PURE"]),
    ("backoff", &["PURE"]),
    ("clock", &["PURE"]),
    ("dispatch", &["PURE"]),
    ("next", &["PURE"]),
    ("quota", &["PURE"]),
    ("seal", &["PURE"]),
    ("words", &["PURE"]),
    // The seams to the outside.
    ("broker", &["PURE"]),
    ("carrier", &["PURE"]),
    ("ledger", &["PURE"]),
    ("message", &["PURE"]),
    // What is told, kept and counted.
    ("cloud_event", &["PURE", "ledger"]),
    ("config", &["PURE", "carrier"]),
    ("envelope", &["PURE", "broker"]),
    ("feed", &["PURE", "cloud_event"]),
    ("crash", &[]),
    ("live", &[]),
    ("metrics", &["PURE"]),
    ("outage", &["PURE", "ledger"]),
    ("wake", &["PURE", "broker"]),
    // The path.
    ("act", &["PURE", "ledger", "metrics", "wake"]),
    ("admit", &["PURE", "config", "ledger", "message"]),
    ("route", &["PURE", "carrier", "config"]),
    ("webhook", &["PURE", "cloud_event", "config", "crash", "ledger", "live", "metrics"]),
    ("tell", &["PURE", "broker", "cloud_event", "crash", "feed", "ledger", "live", "metrics", "webhook"]),
    (
        "receive",
        &[
            "PURE", "broker", "carrier", "crash", "envelope", "ledger", "live", "metrics", "outage", "route",
            "wake",
        ],
    ),
    (
        "worker",
        &[
            "PURE", "act", "admit", "broker", "carrier", "crash", "envelope", "ledger", "live", "metrics",
            "outage", "route", "tell", "wake",
        ],
    ),
    ("due", &["PURE", "wake", "worker"]),
    // The doors.
    ("story", &["PURE"]),
    ("ops", &["live", "metrics"]),
    (
        "api",
        &[
            "PURE",
            "act",
            "admit",
            "broker",
            "cloud_event",
            "config",
            "crash",
            "feed",
            "ledger",
            "live",
            "metrics",
            "receive",
            "story",
            "wake",
            "webhook",
        ],
    ),
    ("contracts", &["PURE", "api", "broker", "cloud_event", "envelope"]),
    // The program.
    ("telemetry", &["config"]),
    (
        "app",
        &[
            "PURE", "admit", "api", "broker", "config", "due", "feed", "ledger", "live", "message",
            "metrics", "ops", "outage", "receive", "route", "tell", "wake", "webhook", "worker",
        ],
    ),
    (
        "cli",
        &[
            "PURE",
            "api",
            "app",
            "broker",
            "carrier",
            "config",
            "contracts",
            "envelope",
            "ledger",
            "message",
            "story",
            "telemetry",
        ],
    ),
];

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

/// The modules of this crate that a text names, comments left out: `crate::a::B`, `crate::{a, b::{C, D}}`. In a module's
/// own front file `super::a` is the same.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String =
        text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => found.extend(listed(list)),
            None => found.extend(name(rest)),
        }
    }
    found
}

/// The name that a text begins with. Modules are in lower case; the root holds nothing else.
fn name(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The first names of a list, up to its closing brace.
fn listed(list: &str) -> Vec<String> {
    let (mut depth, mut names, mut item) = (0, vec![], String::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.extend(name(std::mem::take(&mut item).trim())),
            _ if depth == 0 => item.push(c),
            _ => {}
        }
    }
    names.extend(name(item.trim()));
    names
}

/// Whether the table lets a module import another.
fn may(allowed: &[&str], import: &str) -> bool {
    allowed.contains(&import) || (allowed.contains(&"PURE") && PURE.contains(&import))
}

#[test]
fn modules_import_only_what_the_table_says() {
    let mut wrong = vec![];
    for path in sources(&src()) {
        let own = module(&path);
        if ["lib", "main"].contains(&own.as_str()) {
            continue;
        }
        let Some((_, allowed)) = MODULES.iter().find(|(name, _)| *name == own) else {
            wrong.push(format!("{} is of no module in the table", path.display()));
            continue;
        };
        let mut text = fs::read_to_string(&path).unwrap();
        if path == src().join(&own).join("mod.rs") || path == src().join(format!("{own}.rs")) {
            text = text.replace("\nuse super::", "\nuse crate::");
        }
        for import in imports(&text) {
            if import != own && !may(allowed, &import) {
                wrong.push(format!("{} imports {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A table with a module that is gone, or with a word that is no module, would permit more than it shows.
#[test]
fn the_table_names_the_modules_there_are() {
    let there: BTreeSet<String> = sources(&src()).iter().map(|path| module(path)).collect();
    let named: BTreeSet<&str> = MODULES.iter().map(|(name, _)| *name).collect();
    assert_eq!(named.len(), MODULES.len(), "each once");
    for word in MODULES.iter().flat_map(|(_, allowed)| *allowed).chain(PURE) {
        assert!(*word == "PURE" || named.contains(word), "{word}");
    }
    for name in named {
        assert!(there.contains(name), "{name} is not in src");
    }
}

/// The design's sentence, held against the table itself.
#[test]
fn the_table_keeps_the_layers() {
    for (module, allowed) in MODULES {
        let imports = |of: &[&str]| of.iter().any(|import| allowed.contains(import));
        if PURE.contains(module) || SEAMS.contains(module) {
            assert_eq!(allowed, &["PURE"], "{module}");
        }
        if !["api", "contracts", "app", "cli"].contains(module) {
            assert!(!imports(&["api", "contracts"]), "{module}");
        }
        if !["worker", "due", "app"].contains(module) {
            assert!(!imports(&["worker", "due"]), "{module}");
        }
        if !["app", "cli"].contains(module) {
            assert!(!imports(&["app", "cli"]), "{module}");
        }
    }
}

#[test]
fn imports_are_read_in_braces_too() {
    let text = "use crate::attempt::State;\n// crate::nothing\nuse crate::{\n    broker::{Broker, api::X},\n    \
                clock, seal as s,\n};\nfn f() -> crate::dispatch::Job {}";
    assert_eq!(
        imports(text).into_iter().collect::<Vec<_>>(),
        ["attempt", "broker", "clock", "dispatch", "seal"]
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
