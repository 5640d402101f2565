//! Checks the imports between the folders of `src`, which files may use which library, and the page of log lines.
//! `docs/architecture.md` describes the rules.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod logs;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every folder of `src`, and the folders that it may import.
const FOLDERS: &[(&str, &[&str])] = &[
    // Pure rules: no imports.
    ("domain", &[]),
    // Each of these talks to one external system and imports only `domain`.
    ("seal", &["domain"]),
    ("broker", &["domain"]),
    ("carriers", &["domain"]),
    ("messages", &["domain"]),
    ("ledger", &["domain", "seal"]),
    ("config", &["carriers", "domain", "seal"]),
    ("ops", &["config", "domain"]),
    // The path of a code through otpost.
    ("intake", &["broker", "config", "domain", "ledger", "messages", "seal"]),
    ("outbox", &["broker", "config", "domain", "ledger", "ops"]),
    ("delivery", &["broker", "carriers", "config", "domain", "intake", "ledger", "ops", "seal"]),
    ("receipts", &["broker", "carriers", "config", "delivery", "domain", "intake", "ledger", "ops", "seal"]),
    (
        "http",
        &["broker", "config", "delivery", "domain", "intake", "ledger", "ops", "outbox", "receipts", "seal"],
    ),
    // Composition and commands.
    (
        "app",
        &[
            "broker", "config", "delivery", "domain", "http", "intake", "ledger", "messages", "ops",
            "outbox", "receipts", "seal",
        ],
    ),
    (
        "cli",
        &[
            "app", "broker", "carriers", "config", "domain", "http", "intake", "ledger", "messages", "ops",
            "receipts", "seal",
        ],
    ),
];

/// A library, and the files that may name it.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("lapin::", &["broker/"]),
    ("tokio_postgres", &["ledger/postgres", "ops/telemetry.rs"]),
    ("rusqlite", &["ledger/sqlite/"]),
    ("reqwest::", &["carriers/client.rs", "outbox/webhook/"]),
    ("rlibphonenumber", &["domain/dispatch/country.rs", "domain/dispatch/number.rs"]),
    ("hyper::", &["app/connections.rs"]),
    ("minijinja", &["messages/"]),
    ("maud", &["ops/page/"]),
    ("ratatui", &["cli/top.rs"]),
    ("opentelemetry", &["ops/telemetry.rs", "ops/traces.rs"]),
    ("utoipa", &["http/", "ledger/items/webhook.rs", "domain/words.rs"]),
    ("clap::", &["cli/"]),
    ("SystemTime", &[]),
    ("Timestamp::now", &["domain/clock.rs"]),
];

/// A module by its path (`ledger::postgres`), and the modules that it imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

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

/// Returns a file's text without comments and without the tests at its end.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Returns the module of a file: `domain::decide` for `domain/decide/mod.rs`.
fn module(path: &Path) -> String {
    let inside = path.strip_prefix(src()).unwrap().with_extension("");
    let parts: Vec<&str> = inside.iter().map(|part| part.to_str().unwrap()).collect();
    let parts = if parts.last() == Some(&"mod") { &parts[..parts.len() - 1] } else { &parts };
    parts.join("::")
}

fn folder(module: &str) -> &str {
    module.split("::").next().unwrap()
}

/// Returns the paths after `crate::` in a text, one for each entry in braces.
fn named(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let path: String =
            rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':')).collect();
        let path = path.trim_end_matches(':').to_owned();
        if let Some(list) = rest.strip_prefix(&format!("{path}::{{")) {
            found.extend(listed(list).into_iter().map(|entry| format!("{path}::{entry}")));
        } else if let Some(list) = rest.strip_prefix('{') {
            found.extend(listed(list));
        }
        found.insert(path);
    }
    found.remove("");
    found
}

/// Returns the plain paths of a list in braces, up to its closing brace.
fn listed(list: &str) -> Vec<String> {
    let (mut depth, mut entries, mut entry) = (0, vec![], String::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => entries.push(std::mem::take(&mut entry)),
            _ if depth == 0 => entry.push(c),
            _ => {}
        }
    }
    entries.push(entry);
    let path = |entry: String| entry.split_whitespace().next().map(|p| p.trim_end_matches(':').to_owned());
    entries.into_iter().filter_map(path).filter(|p| !p.is_empty()).collect()
}

/// Replaces `super::` by the path from `crate::`, in the code of a module.
fn with_parent_paths(text: &str, module: &str) -> String {
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    let grandparent = parent.rsplit_once("::").map_or("", |(parent, _)| parent);
    let path =
        |module: &str| if module.is_empty() { "crate::".to_owned() } else { format!("crate::{module}::") };
    text.replace("super::super::", &path(grandparent)).replace("super::", &path(parent))
}

/// Returns all modules with their imports. A path is matched to the longest module name that it starts with.
fn imports() -> Imports {
    let files: BTreeMap<String, PathBuf> = sources(&src()).into_iter().map(|p| (module(&p), p)).collect();
    let resolve = |path: &str| {
        let parts: Vec<&str> = path.split("::").collect();
        (1..=parts.len()).rev().map(|n| parts[..n].join("::")).find(|path| files.contains_key(path))
    };
    let is_program = |module: &str| ["lib", "main"].contains(&module) || module.ends_with("tests");
    let modules = files.iter().filter(|(module, _)| !is_program(module));
    modules
        .map(|(module, path)| {
            let text = code(path);
            let (absolute, relative) = (named(&text), named(&with_parent_paths(&text, module)));
            // A module may use items of its own parents.
            let is_parent = |m: &String| module.starts_with(&format!("{m}::"));
            let siblings =
                relative.difference(&absolute).filter_map(|path| resolve(path)).filter(|m| !is_parent(m));
            let found = absolute.iter().filter_map(|path| resolve(path)).chain(siblings);
            (module.clone(), found.filter(|m| m != module).collect())
        })
        .collect()
}

/// Returns a cycle of imports, if there is one.
fn circle(imports: &Imports) -> Option<Vec<String>> {
    fn visit(module: &str, imports: &Imports, path: &mut Vec<String>, done: &mut BTreeSet<String>) -> bool {
        if let Some(at) = path.iter().position(|m| m == module) {
            path.drain(..at);
            return true;
        }
        if !done.insert(module.to_owned()) {
            return false;
        }
        path.push(module.to_owned());
        if imports.get(module).into_iter().flatten().any(|next| visit(next, imports, path, done)) {
            return true;
        }
        path.pop();
        false
    }
    let mut done = BTreeSet::new();
    imports.keys().find_map(|module| {
        let mut path = vec![];
        visit(module, imports, &mut path, &mut done).then_some(path)
    })
}

#[test]
fn folders_import_only_the_modules_in_the_table() {
    let mut wrong = vec![];
    for (module, found) in imports() {
        let Some((own, allowed)) = FOLDERS.iter().find(|(name, _)| *name == folder(&module)) else {
            wrong.push(format!("{module} is in no folder of the table"));
            continue;
        };
        for import in found {
            if folder(&import) != *own && !allowed.contains(&folder(&import)) {
                wrong.push(format!("{module} imports {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// An unused entry of the table could hide a wrong import.
#[test]
fn every_entry_of_the_table_is_used() {
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, found) in imports() {
        let own = folder(&module).to_owned();
        let others = found.iter().map(|m| folder(m).to_owned()).filter(|other| *other != own);
        used.entry(own.clone()).or_default().extend(others);
    }
    let table: BTreeMap<String, BTreeSet<String>> = FOLDERS
        .iter()
        .map(|(name, allowed)| ((*name).to_owned(), allowed.iter().map(|a| (*a).to_owned()).collect()))
        .collect();
    assert_eq!(used, table);
}

/// Checks folders, and files of different modules.
#[test]
fn there_are_no_import_cycles() {
    assert_eq!(circle(&imports()), None);
    let folders = FOLDERS.iter().map(|(name, allowed)| {
        ((*name).to_owned(), allowed.iter().map(|a| (*a).to_owned()).collect::<BTreeSet<_>>())
    });
    assert_eq!(circle(&folders.collect()), None);
}

#[test]
fn an_import_cycle_is_found() {
    let of = |pairs: &[(&str, &str)]| {
        let mut imports = Imports::new();
        for (from, to) in pairs {
            imports.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        circle(&imports)
    };
    assert_eq!(of(&[("a", "b"), ("b", "c"), ("a", "c")]), None);
    assert_eq!(of(&[("a", "b"), ("b", "c"), ("c", "b")]).unwrap(), ["b", "c"]);
}

#[test]
fn imports_from_a_parent_are_read() {
    let text =
        with_parent_paths("use super::problem::X;\nuse super::super::seal::{Keys, Y};", "http::api::key");
    assert!(named(&text).contains("http::api::problem::X"), "{text}");
    assert!(named(&text).contains("http::seal::Keys"), "{text}");
}

#[test]
fn imports_in_braces_are_read() {
    let text = "use crate::domain::attempt::State;\nuse crate::{\n    broker::{Broker, api::X},\n    seal as s,\n};\n\
                use crate::ops::{crash::{self, Point}, metrics};\nfn f() -> crate::intake::Job {}";
    let found = named(text);
    for path in
        ["domain::attempt::State", "broker", "seal", "ops::crash", "ops::metrics", "ops", "intake::Job"]
    {
        assert!(found.contains(path), "{path} in {found:?}");
    }
}

/// The introduction states the inputs, the outputs, and what the folder must not do.
#[test]
fn each_folder_has_an_introduction() {
    for (name, _) in FOLDERS {
        let text = fs::read_to_string(src().join(name).join("mod.rs")).unwrap();
        let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
        let page: Vec<&str> = lines.map(str::trim).collect();
        let page = page.join(" ");
        for part in ["Comes in:", "Goes out:", "Nothing here"] {
            assert!(page.contains(part), "src/{name}/mod.rs has no part \"{part}\" in its introduction");
        }
    }
}

#[test]
fn each_library_is_used_only_in_its_listed_files() {
    let mut wrong = vec![];
    for path in sources(&src()) {
        let inside = path.strip_prefix(src()).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let code: Vec<&str> = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
        let code = code.join("\n");
        for (library, allowed) in LIBRARIES {
            if code.contains(library) && !allowed.iter().any(|a| inside.starts_with(a)) {
                wrong.push(format!("{inside} knows {library}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_mock_gateway_does_not_import_otpost() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mock-gateway");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    assert!(!manifest.contains("otpost"), "{manifest}");
    for path in sources(&folder.join("src")) {
        assert!(!fs::read_to_string(&path).unwrap().contains("otpost::"), "{}", path.display());
    }
}
