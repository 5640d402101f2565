//! `docs/two-step.md` names tests that exist.
#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails")]

use std::path::Path;

/// Appends all Rust and scenario files below a folder, each after its name.
fn sources(folder: &Path, out: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs" || e == "cjs") {
            out.extend(["fn ", path.file_stem().unwrap().to_str().unwrap(), "(\n"]);
            out.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_line_of_the_security_table_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("../docs/two-step.md")).unwrap();
    let table = page.split("## Security").nth(1).unwrap().split("\n## ").next().unwrap();
    let (mut lines, mut all) = (0, String::new());
    sources(&root.join("src"), &mut all);
    sources(&root.join("tests"), &mut all);
    for line in table.lines().filter(|l| l.starts_with("| ")).skip(2) {
        let tests: Vec<&str> = line.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{line}");
        for test in tests {
            assert!(all.contains(&format!("fn {test}(")), "{test}: {line}");
        }
        lines += 1;
    }
    assert!(lines > 15, "{lines}");
}
