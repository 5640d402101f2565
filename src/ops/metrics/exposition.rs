//! The text formats of metrics.

use axum::http::{HeaderMap, header};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

/// A text format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// The text format of Prometheus, 0.0.4.
    Prometheus,
}

impl Format {
    /// The format that a client accepts: `OpenMetrics` if it names it, as a Prometheus server does.
    pub fn accepted(headers: &HeaderMap) -> Self {
        let accepts = |text: &str| text.contains("application/openmetrics-text");
        let named =
            headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(accepts);
        if named { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The value of the header `content-type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// All metrics of a registry.
    pub(super) fn text(self, registry: &Registry) -> String {
        let mut open = String::new();
        text::encode(&mut open, registry).expect("writing to a string does not fail");
        match self {
            Self::OpenMetrics => open,
            Self::Prometheus => prometheus(&open),
        }
    }
}

/// Converts `OpenMetrics`. It names a counter without `_total` in its description; the older format names it as in its samples. There a
/// family without samples has no description, and no unit.
fn prometheus(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let (mut help, mut description) = ("", String::new());
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let suffix = if kind == "counter" { "_total" } else { "" };
            let about = help.split_once(' ').map_or("", |(_, about)| about);
            description = format!("# HELP {name}{suffix} {about}\n# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            text.push_str(&std::mem::take(&mut description));
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header};

    use super::{Format, prometheus};

    /// Fails if a counter's description keeps its name of `OpenMetrics`, or if an empty family is described.
    #[test]
    fn a_counter_is_described_by_the_name_of_its_samples() {
        let open = "# HELP a Some.\n# TYPE a counter\na_total{x=\"1\"} 2\n# HELP empty None.\n# TYPE empty gauge\n\
                    # HELP b_seconds Time.\n# TYPE b_seconds histogram\n# UNIT b_seconds seconds\nb_seconds_sum 0.0\n# EOF\n";
        let expected = "# HELP a_total Some.\n# TYPE a_total counter\na_total{x=\"1\"} 2\n\
                        # HELP b_seconds Time.\n# TYPE b_seconds histogram\nb_seconds_sum 0.0\n";
        assert_eq!(prometheus(open), expected);
    }

    #[test]
    fn a_client_gets_openmetrics_only_if_it_accepts_it() {
        let format = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            Format::accepted(&headers)
        };
        assert_eq!(Format::accepted(&HeaderMap::new()), Format::Prometheus);
        assert_eq!(format("*/*"), Format::Prometheus);
        let server = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(format(server), Format::OpenMetrics);
    }
}
