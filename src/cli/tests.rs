//! The commands in the pages for operators.

use std::fs;
use std::path::Path;

use clap::{CommandFactory, Parser};

use super::Cli;

/// Splits a command line at spaces outside double quotes.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('"').enumerate();
    let mut words: Vec<String> = vec![];
    for (i, part) in parts {
        if i % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// The commands of otpost in a page: in blocks, and inline.
fn commands(page: &str) -> Vec<String> {
    let blocks = page.lines().filter_map(|line| line.trim_start().strip_prefix("$ "));
    let inline = page.split('`').skip(1).step_by(2);
    let all = blocks.chain(inline).map(|line| line.split("  #").next().unwrap_or(line).trim().to_owned());
    all.filter(|line| line.starts_with("otpost ")).collect()
}

/// Fails if a page names an option that a command does not have. Commands that this build does not have are left out.
#[test]
fn each_command_in_the_runbook_can_be_parsed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbook");
    let known: Vec<String> = Cli::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
    let (mut parsed, mut wrong) = (0, vec![]);
    for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        for line in commands(&fs::read_to_string(&file).unwrap()) {
            let words = words(&line);
            if !known.contains(&words[1]) {
                continue;
            }
            parsed += 1;
            if let Err(e) = Cli::try_parse_from(&words) {
                let page = file.file_name().unwrap().to_string_lossy().into_owned();
                wrong.push(format!("{page}: {line}: {e}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(parsed >= 8, "{parsed} commands were found");
}
