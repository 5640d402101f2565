//! What fuzzing looks for, on the inputs that are kept in `fuzz/corpus`: the known vectors, and what once broke something.
//! `scripts/fuzz` looks for new ones.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

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
fn what_must_hold_for_strangers_bytes_holds_for_all_that_are_kept() {
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
