//! The dashboard for Grafana, generated from the list of metrics: chosen panels, then one panel for each other metric.

use serde_json::{Value, json};

use super::metrics::{Described, Kind, catalogue};

/// Width of the dashboard, in Grafana's units.
const WIDTH: usize = 24;
/// Width and height of a panel.
const PANEL: (usize, usize) = (8, 8);

/// A panel: title, unit, and its queries with their legends.
struct Panel {
    title: &'static str,
    unit: &'static str,
    queries: &'static [(&'static str, &'static str)],
}

/// A row of panels.
struct Row {
    title: &'static str,
    panels: &'static [Panel],
}

/// The rows that an operator looks at first.
const ROWS: &[Row] = &[
    Row {
        title: "Do codes arrive?",
        panels: &[
            Panel {
                title: "Dispatches by final state",
                unit: "ops",
                queries: &[("sum by (state) (rate(otpost_dispatches_total[5m]))", "{{state}}")],
            },
            Panel {
                title: "Share that was delivered, by country",
                unit: "percentunit",
                queries: &[(
                    "sum by (country) (rate(otpost_dispatches_total{state=\"delivered\"}[30m])) / \
                     sum by (country) (rate(otpost_dispatches_total{state!~\"limited|refused|superseded|cancelled\"}[30m]))",
                    "{{country}}",
                )],
            },
            Panel {
                title: "Verified codes among accepted requests, by country",
                unit: "percentunit",
                queries: &[(
                    "sum by (country) (rate(otpost_verified_total[1h])) / \
                     sum by (country) (rate(otpost_requests_total{outcome=\"accepted\"}[1h]))",
                    "{{country}}",
                )],
            },
            Panel {
                title: "Time from admission to the first request",
                unit: "s",
                queries: &[
                    (
                        "histogram_quantile(0.5, sum by (le) (rate(otpost_first_request_seconds_bucket[5m])))",
                        "half",
                    ),
                    (
                        "histogram_quantile(0.9, sum by (le) (rate(otpost_first_request_seconds_bucket[5m])))",
                        "9 of 10",
                    ),
                ],
            },
            Panel {
                title: "Time from admission to delivery",
                unit: "s",
                queries: &[
                    (
                        "histogram_quantile(0.5, sum by (le) (rate(otpost_delivery_seconds_bucket[5m])))",
                        "half",
                    ),
                    (
                        "histogram_quantile(0.9, sum by (le) (rate(otpost_delivery_seconds_bucket[5m])))",
                        "9 of 10",
                    ),
                ],
            },
            Panel {
                title: "Jobs refused, by reason",
                unit: "ops",
                queries: &[("sum by (reason) (rate(otpost_refusals_total[5m]))", "{{reason}}")],
            },
        ],
    },
    Row {
        title: "Carriers",
        panels: &[
            Panel {
                title: "Requests by outcome",
                unit: "ops",
                queries: &[(
                    "sum by (carrier, outcome) (rate(otpost_attempts_total[5m]))",
                    "{{carrier}} {{outcome}}",
                )],
            },
            Panel {
                title: "Receipt coverage",
                unit: "percentunit",
                queries: &[(
                    "sum by (carrier) (rate(otpost_final_receipts_total[1h])) / \
                     sum by (carrier) (rate(otpost_attempts_total{outcome=\"accepted\"}[1h]))",
                    "{{carrier}}",
                )],
            },
            Panel {
                title: "Share that reached the handset within 10, 30 and 60 s",
                unit: "percentunit",
                queries: &[(
                    "sum by (carrier, le) (rate(otpost_handset_seconds_bucket{le=~\"10.0|30.0|60.0\"}[1h])) / on (carrier) \
                     group_left sum by (carrier) (rate(otpost_handset_seconds_count[1h]))",
                    "{{carrier}} {{le}} s",
                )],
            },
            Panel {
                title: "Answer time, 9 of 10 requests",
                unit: "s",
                queries: &[(
                    "histogram_quantile(0.9, sum by (carrier, le) (rate(otpost_carrier_answer_seconds_bucket[5m])))",
                    "{{carrier}}",
                )],
            },
            Panel {
                title: "Circuit breakers: 0 closed, 1 half open, 2 open",
                unit: "none",
                queries: &[("max by (carrier, channel) (otpost_breaker_state)", "{{carrier}} {{channel}}")],
            },
            Panel {
                title: "Requests per second, and their limit",
                unit: "reqps",
                queries: &[
                    ("sum by (carrier) (rate(otpost_attempts_total[1m]))", "{{carrier}}"),
                    ("max by (carrier) (otpost_rate_limit_per_second)", "{{carrier}} limit"),
                ],
            },
        ],
    },
    Row {
        title: "Queues",
        panels: &[
            Panel {
                title: "Messages in the queues",
                unit: "none",
                queries: &[("max by (queue) (otpost_queue_messages)", "{{queue}}")],
            },
            Panel {
                title: "Age of jobs when a worker gets them, 9 of 10",
                unit: "s",
                queries: &[(
                    "histogram_quantile(0.9, sum by (le) (rate(otpost_job_age_seconds_bucket[5m])))",
                    "age",
                )],
            },
            Panel {
                title: "What waits in the ledger: age of the oldest",
                unit: "s",
                queries: &[
                    ("max(otpost_due_oldest_seconds)", "due dispatches"),
                    ("max by (receiver) (otpost_outbox_oldest_seconds)", "events for {{receiver}}"),
                ],
            },
        ],
    },
    Row {
        title: "Processes and servers",
        panels: &[
            Panel { title: "Workers", unit: "none", queries: &[("max(otpost_workers)", "workers")] },
            Panel {
                title: "Ledger: transactions, 9 of 10",
                unit: "s",
                queries: &[(
                    "histogram_quantile(0.9, sum by (operation, le) (rate(otpost_ledger_transaction_seconds_bucket[5m])))",
                    "{{operation}}",
                )],
            },
            Panel {
                title: "Ledger: errors",
                unit: "ops",
                queries: &[(
                    "sum by (operation, kind) (rate(otpost_ledger_errors_total[5m]))",
                    "{{operation}} {{kind}}",
                )],
            },
            Panel {
                title: "Ledger: connections",
                unit: "none",
                queries: &[
                    ("sum by (instance, state) (otpost_ledger_connections)", "{{instance}} {{state}}"),
                    ("sum by (instance) (otpost_ledger_connections_awaited)", "{{instance}} awaited"),
                ],
            },
            Panel {
                title: "Connections to RabbitMQ",
                unit: "none",
                queries: &[(
                    "min by (instance, connection) (otpost_broker_connected)",
                    "{{instance}} {{connection}}",
                )],
            },
            Panel {
                title: "Clocks ahead of the ledger",
                unit: "s",
                queries: &[("max by (instance) (otpost_clock_ahead_seconds)", "{{instance}}")],
            },
        ],
    },
];

/// The dashboard, as the text of `ops/grafana/otpost.json`.
pub fn text() -> String {
    let mut panels = Panels::default();
    for row in ROWS {
        panels.row(row.title);
        for panel in row.panels {
            panels.add(panel.title, "", panel.unit, panel.queries.iter().copied());
        }
    }
    let shown = |metric: &Described| queries().any(|query| mentions(query, metric));
    panels.row("Other metrics");
    for metric in catalogue().iter().filter(|metric| !shown(metric)) {
        let labels: Vec<&str> = metric.labels.iter().map(String::as_str).collect();
        let legend: Vec<String> = labels.iter().map(|label| format!("{{{{{label}}}}}")).collect();
        let by = labels.join(", ");
        let query = match metric.kind {
            Kind::Counter => format!("sum by ({by}) (rate({}[5m]))", metric.name),
            Kind::Gauge => format!("max by ({by}) ({})", metric.name),
            Kind::Histogram => {
                let by = labels.iter().copied().chain(["le"]).collect::<Vec<_>>().join(", ");
                format!("histogram_quantile(0.9, sum by ({by}) (rate({}_bucket[5m])))", metric.name)
            }
        };
        let unit = match metric.kind {
            Kind::Counter => "ops",
            _ if metric.name.ends_with("_seconds") => "s",
            _ => "none",
        };
        let legend = legend.join(" ");
        panels.add(&metric.name, &metric.help, unit, [(query.as_str(), legend.as_str())].into_iter());
    }
    format!("{:#}\n", panels.dashboard())
}

fn queries() -> impl Iterator<Item = &'static str> {
    ROWS.iter().flat_map(|row| row.panels).flat_map(|panel| panel.queries).map(|(query, _)| *query)
}

/// Whether a query reads a metric.
fn mentions(query: &str, metric: &Described) -> bool {
    names(query).any(|name| metric.is_named(name))
}

/// The metrics of otpost that a text names, such as a query or a page.
pub fn names(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(move |c| !is_part(c)).filter(|word| word.starts_with("otpost_"))
}

/// The panels so far, with the place of the next one.
#[derive(Default)]
struct Panels {
    all: Vec<Value>,
    x: usize,
    y: usize,
}

impl Panels {
    fn row(&mut self, title: &str) {
        self.end_line();
        let place = json!({"h": 1, "w": WIDTH, "x": 0, "y": self.y});
        self.all.push(json!({
            "id": self.all.len() + 1, "type": "row", "title": title, "collapsed": false, "gridPos": place, "panels": [],
        }));
        self.y += 1;
    }

    fn end_line(&mut self) {
        if self.x > 0 {
            (self.x, self.y) = (0, self.y + PANEL.1);
        }
    }

    fn add<'q>(
        &mut self, title: &str, about: &str, unit: &str, queries: impl Iterator<Item = (&'q str, &'q str)>,
    ) {
        let source = json!({"type": "prometheus", "uid": "${datasource}"});
        let targets = queries.enumerate().map(|(i, (query, legend))| {
            json!({
                "refId": char::from(b'A' + i as u8).to_string(), "datasource": source, "expr": query, "legendFormat": legend,
            })
        });
        self.all.push(json!({
            "id": self.all.len() + 1, "type": "timeseries", "title": title, "description": about, "datasource": source,
            "gridPos": {"h": PANEL.1, "w": PANEL.0, "x": self.x, "y": self.y},
            "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
            "targets": targets.collect::<Vec<_>>(),
        }));
        self.x += PANEL.0;
        if self.x >= WIDTH {
            self.end_line();
        }
    }

    fn dashboard(self) -> Value {
        json!({
            "title": "otpost", "uid": "otpost", "tags": ["otpost"], "schemaVersion": 38, "version": 1, "editable": true,
            "timezone": "browser", "refresh": "30s", "time": {"from": "now-3h", "to": "now"},
            "templating": {"list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
            ]},
            "panels": self.all,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{catalogue, mentions, names, queries, text};

    /// Fails if the file was not made again after a change of the metrics or of the panels.
    #[test]
    fn the_committed_dashboard_is_up_to_date() {
        let committed = include_str!("../../ops/grafana/otpost.json");
        assert!(committed == text(), "run: otpost contracts dashboard > ops/grafana/otpost.json");
    }

    /// Fails if a query names a metric or a label that does not exist, or if a metric is in no panel.
    #[test]
    fn the_dashboard_shows_each_metric_and_no_other() {
        let all = catalogue();
        for query in queries() {
            for name in names(query) {
                assert!(all.iter().any(|metric| metric.is_named(name)), "{name} in {query}");
            }
            for group in query.split("by (").skip(1) {
                let by = group.split(')').next().unwrap();
                for label in by.split(", ").filter(|label| !["le", "instance"].contains(label)) {
                    let has_label = all.iter().any(|m| mentions(query, m) && m.labels.contains(label));
                    assert!(has_label, "{label} in {query}");
                }
            }
        }
        let text = text();
        for metric in &all {
            assert!(names(&text).any(|name| metric.is_named(name)), "{} is in no panel", metric.name);
        }
    }
}
