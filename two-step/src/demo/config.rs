//! The demo's configuration: a text in the format of `two-step.toml`, plus the changes of `--set`.

use std::path::Path;

use toml::{Table, Value};

use crate::config::{BadConfig, Config};

/// Builds the configuration of a shop at `site` whose pages are at `pages`. Each change is a line of `two-step.toml` with a
/// dotted key: `trust.life = "1h"`.
pub(super) fn read(
    site: &str, pages: &str, folder: &Path, gap_s: Option<u64>, changes: &[String],
) -> Result<Config, BadConfig> {
    let send_gaps_s = gap_s.map_or_else(|| "[30, 60, 120, 300]".to_owned(), |s| format!("[{s}]"));
    let text = format!(
        "public_url = \"{pages}\"\n[database]\nurl = \"sqlite:{}/two-step.db\"\n[limits]\nsend_gaps_s = {send_gaps_s}\n\
         number_sends = [\"30/10m\"]\nnumber_calls = [\"30/1h\"]\naccount_sends = [\"60/1h\"]\naccount_new_numbers = [\"30/1d\"]\n\
         [smtp]\nfrom = \"shop@localhost\"\n\
         [products.shop]\nname = \"Shop\"\nreturn_urls = [\"{site}/shop/return\", \"{site}/shop/settings-done\"]\n\
         home_url = \"{site}/shop\"\ncountries = [\"GB\", \"DE\", \"US\"]\n[products.shop.app]\n",
        folder.display()
    );
    // The file is generated, so its line numbers would not help.
    Config::parse(&change(&text, changes)?).map_err(|BadConfig(e)| {
        let cause =
            e.strip_prefix("line ").and_then(|rest| rest.split_once(": ")).map(|(_, cause)| cause.to_owned());
        BadConfig(cause.unwrap_or(e))
    })
}

fn change(text: &str, changes: &[String]) -> Result<String, BadConfig> {
    let table = |text: &str| {
        let read = text.parse::<Table>();
        read.map_err(|_| {
            BadConfig(format!(
                "{text} is not a key, = and a value: write strings as 'support.delay = \"1h\"'"
            ))
        })
    };
    let mut all = table(text)?;
    for line in changes {
        merge(&mut all, table(line)?);
    }
    Ok(all.to_string())
}

/// Merges one table into another. Tables with the same key are merged, other values are replaced.
fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_with(changes: &[&str]) -> Result<Config, BadConfig> {
        let changes: Vec<String> = changes.iter().map(|c| (*c).to_owned()).collect();
        read("http://127.0.0.1:1", "http://127.0.0.1:2", Path::new("/tmp"), None, &changes)
    }

    #[test]
    fn a_change_replaces_one_key_and_keeps_its_neighbours() {
        let config =
            read_with(&["products.shop.countries = [\"FR\"]", "support.delay = \"1h\""]).expect("reads");
        assert_eq!(config.products["shop"].countries, ["FR"]);
        assert_eq!(config.products["shop"].name, "Shop");
        assert_eq!(config.support.delay.0.as_secs(), 3600);
    }

    #[test]
    fn an_unknown_key_and_invalid_toml_are_refused() {
        assert!(read_with(&["support.delais = \"1h\""]).is_err());
        assert!(read_with(&["support.delay: 1h"]).is_err());
    }
}
