//! Each alert has its page in the runbook and its unit test, and rules and pages name only metrics that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use otpost::ops::dashboard::names;
use otpost::ops::metrics::catalogue;

use crate::programs::rules_folder;

fn rules() -> String {
    fs::read_to_string(rules_folder().join("otpost.rules.yml")).unwrap()
}

fn runbook() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbook")
}

/// The values of a key in a YAML file, in order.
fn values<'t>(text: &'t str, key: &str) -> Vec<&'t str> {
    let prefixes = [format!("{key}: "), format!("- {key}: ")];
    let lines = text.lines().map(str::trim_start);
    lines.filter_map(|line| prefixes.iter().find_map(|prefix| line.strip_prefix(prefix.as_str()))).collect()
}

/// Fails if an alert has no page, or a page has no alert, or the front page leaves one out.
#[test]
fn each_alert_has_a_page_and_each_page_an_alert() {
    let rules = rules();
    let (alerts, links) = (values(&rules, "alert"), values(&rules, "runbook_url"));
    assert!(alerts.len() >= 13 && alerts.len() == links.len(), "{alerts:?} {links:?}");
    let front = fs::read_to_string(runbook().join("README.md")).unwrap();
    for (alert, link) in alerts.iter().zip(&links) {
        let name = link.strip_prefix("docs/runbook/").unwrap_or_else(|| panic!("{alert}: {link}"));
        let page =
            fs::read_to_string(runbook().join(name)).unwrap_or_else(|e| panic!("{alert}: {name}: {e}"));
        assert_eq!(page.lines().next(), Some(format!("# {alert}").as_str()), "{name}");
        for part in ["\n## Look\n", "\n## Do\n"] {
            assert!(page.contains(part), "{name} has no part {part:?}");
        }
        assert!(front.contains(&format!("[{alert}]({name})")), "the front page leaves out {alert}");
    }
    let linked: BTreeSet<String> = links.iter().map(|link| (*link).replace("docs/runbook/", "")).collect();
    let files =
        fs::read_dir(runbook()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let pages: BTreeSet<String> = files.filter(|name| name != "README.md").collect();
    assert_eq!(pages, linked);
}

#[test]
fn each_alert_says_what_happened_and_how_urgent_it_is() {
    let rules = rules();
    let alerts = values(&rules, "alert").len();
    for key in ["summary", "description", "severity"] {
        assert_eq!(values(&rules, key).len(), alerts, "{key}");
    }
    assert!(values(&rules, "severity").iter().all(|severity| ["page", "ticket"].contains(severity)));
    for description in values(&rules, "description") {
        assert!(description.contains("{{ $value"), "no value in: {description}");
    }
}

/// Fails if an alert could be broken without a failing unit test.
#[test]
fn each_alert_has_a_unit_test() {
    let tests = fs::read_to_string(rules_folder().join("otpost.rules.test.yml")).unwrap();
    let tested = values(&tests, "alertname");
    for alert in values(&rules(), "alert") {
        assert!(tested.contains(&alert), "{alert} has no test");
    }
}

/// Fails if a metric in a rule, a page or the page for operators is misspelt or gone.
#[test]
fn rules_and_pages_name_only_metrics_that_exist() {
    let all = catalogue();
    let operate = runbook().parent().unwrap().join("operate.md");
    let pages = fs::read_dir(runbook()).unwrap().map(|entry| entry.unwrap().path());
    let files = pages.chain([operate, rules_folder().join("otpost.rules.yml")]);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for name in names(&text).filter(|name| *name != "otpost_owner") {
            let exists = all.iter().any(|metric| metric.is_named(name) || metric.name == name);
            assert!(exists, "{name} in {}", file.display());
        }
    }
}
