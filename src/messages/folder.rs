//! A folder of templates: the names and the texts of its files.

use std::collections::BTreeMap;
use std::path::Path;

use super::locale;
use crate::domain::channel::Channel;
use crate::domain::dispatch::bounds;

/// A byte-order mark, which some editors write at the beginning of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads the files of a folder. Returns their texts by `<name>.<language>.<channel>`, with the language in small letters.
///
/// # Errors
///
/// Returns the error text if the folder or a file cannot be read, or if a file could never be used.
pub(super) fn read(folder: &Path) -> Result<BTreeMap<String, String>, String> {
    let cannot = || format!("the templates folder {} cannot be read", folder.display());
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(|_| cannot())? {
        let path = entry.map_err(|_| cannot())?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(stem) = file.strip_suffix(".txt") else {
            if is_like_a_template(&file) {
                return Err(format!("{} must end in .txt, in small letters", path.display()));
            }
            continue;
        };
        let name = name_of(stem).map_err(|why| format!("{} {why}", path.display()))?;
        let bytes = std::fs::read(&path).map_err(|_| cannot())?;
        let text = String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", path.display()))?;
        if files.insert(name.clone(), plain(&text)).is_some() {
            return Err(format!(
                "{} names the language of another file: both are {name}.txt",
                path.display()
            ));
        }
    }
    Ok(files)
}

/// The name of a template, from the name of its file.
fn name_of(stem: &str) -> Result<String, String> {
    let parts: Vec<&str> = stem.split('.').collect();
    let [name, language, channel] = parts[..] else {
        return Err(format!(
            "must be called <name>.<language>.<channel>.txt; the channels are {}",
            Channel::names()
        ));
    };
    if !bounds::is_name(name) {
        return Err(format!(
            "has a name that no job can have as its template: write 1 to {} characters of a-z, 0-9, - and _",
            bounds::MAX_NAME_CHARS
        ));
    }
    let channel: Channel = channel.parse().map_err(|_| {
        format!("must be called <name>.<language>.<channel>.txt; the channels are {}", Channel::names())
    })?;
    let language = locale::normal(language);
    if !locale::is_language(&language) {
        return Err("names no language: write a BCP 47 tag, such as de, pt-BR or zh-Hant".to_owned());
    }
    if channel == Channel::Voice && locale::voice(&language, None).is_none() {
        return Err("is of a language that no carrier's voice speaks".to_owned());
    }
    Ok(format!("{name}.{language}.{channel}"))
}

/// Whether a file looks like a template, except for its ending. A README or a backup does not.
fn is_like_a_template(file: &str) -> bool {
    let file = file.trim().to_ascii_lowercase();
    let stem = file.strip_suffix(".txt").or_else(|| file.strip_suffix(".text")).unwrap_or(&file);
    name_of(stem).is_ok()
}

/// A text without a byte-order mark, and with line feeds only: a carriage return is a character that is paid for.
fn plain(text: &str) -> String {
    text.trim_start_matches(BYTE_ORDER_MARK).replace("\r\n", "\n")
}
