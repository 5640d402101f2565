//! Runs the fuzz properties on the inputs in `fuzz/corpus`: known vectors, and inputs that once failed.
//! `scripts/fuzz` searches for new ones.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "a library, for the fuzzing targets")]
mod properties;

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_stored_input_satisfies_its_fuzz_property() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let targets: BTreeSet<String> = properties::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&corpus), targets, "each target has a folder, and no folder lacks its target");
    let mut broken = vec![];
    for (target, holds) in properties::ALL {
        let files = names(&corpus.join(target));
        assert!(!files.is_empty(), "{target} has no input");
        for file in files {
            let input = fs::read(corpus.join(target).join(&file)).unwrap();
            if catch_unwind(|| holds(&input)).is_err() {
                broken.push(format!("{target}/{file}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
