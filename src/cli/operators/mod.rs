//! The commands of operators. They act on all tenants through the API of a running otpost, with an operator's key.

pub(super) mod audit;
pub(super) mod block;
pub(super) mod carrier;
pub(super) mod dispatch;
pub(super) mod erase;
pub(super) mod quota;
mod table;

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::Failure;
use super::client::{Api, Server, problem};

/// The API, the operator's key, and the form of the output.
#[derive(Debug, Args)]
pub(super) struct OperatorRequest {
    #[command(flatten)]
    server: Server,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl OperatorRequest {
    fn connect(self) -> Result<(Api, bool), Failure> {
        let json = self.json;
        Ok((self.server.connect_operator()?, json))
    }
}

/// Sends a GET request. Returns the body of a successful answer.
async fn get(api: &Api, path: &str) -> Result<Value, Failure> {
    let (status, body) = api.get(path).await?;
    if status == 200 { Ok(body) } else { Err(problem(status, &body)) }
}

/// Sends a POST request. Returns the body of a successful answer.
async fn post(api: &Api, path: &str, body: &Value) -> Result<Value, Failure> {
    let (status, body) = api.post(path, body).await?;
    if status == 200 { Ok(body) } else { Err(problem(status, &body)) }
}

/// Prints the result of an act: the JSON, or a sentence that says whether anything changed.
fn report(body: &Value, json: bool, changed: &str, unchanged: &str) {
    if json {
        println!("{body}");
    } else {
        println!("{}", if body["changed"] == true { changed } else { unchanged });
    }
}

/// Parses a duration: a number and s, m, h or d.
fn duration(text: &str) -> Result<Duration, &'static str> {
    let wrong = "a duration is a number and s, m, h or d, such as 2h";
    let (number, seconds) = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)]
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))
        .ok_or(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong)?;
    number.checked_mul(seconds).filter(|s| *s > 0).map(Duration::from_secs).ok_or(wrong)
}

/// A text of an answer; empty if it is missing.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A time of an answer in whole seconds; empty if it is missing.
fn time(value: &Value) -> String {
    let time: Option<jiff::Timestamp> = text(value).parse().ok();
    time.map_or_else(String::new, |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// The texts of a list, separated by commas.
fn list(value: &Value) -> String {
    value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::duration;

    #[test]
    fn a_duration_has_a_number_and_a_unit() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("2h", 7200), ("7d", 604_800)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "2", "h", "0h", "-1h", "2w", "1.5h", "2h30m", "99999999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
