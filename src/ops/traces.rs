//! Traces: a span for each dispatch, each request to a carrier and each receipt, exported over OTLP.
//!
//! Spans are built from committed facts, so they do not delay a code. Their ids follow from the
//! dispatch's uid and the attempt's number. So a receipt that another process records is linked to the span of its request.

use std::time::Duration;

use jiff::Timestamp;
use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanLinks, SpanProcessor};
use sha2::{Digest, Sha256};

use crate::domain::attempt::{Outcome, ReceiptStatus};
use crate::domain::attempt_fact::{AttemptEvent, AttemptFact};

/// Time limit of an export.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Exports spans in the background. Spans that do not fit into its queue are dropped.
#[derive(Debug)]
pub struct Tracer {
    processor: BatchSpanProcessor,
    sampler: Sampler,
}

impl Tracer {
    /// Starts the export to an OTLP endpoint over HTTP. `sample` is the part of the dispatches without a caller's trace context that are
    /// exported, from 0 to 1. `process` names this process.
    ///
    /// # Errors
    ///
    /// Returns the error of an endpoint that cannot be used.
    pub fn start(url: &str, sample: f64, process: &str) -> Result<Self, ExporterBuildError> {
        let exporter =
            SpanExporter::builder().with_http().with_endpoint(url).with_timeout(EXPORT_TIMEOUT).build()?;
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        let resource = Resource::builder()
            .with_service_name("otpost")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", process.to_owned()));
        processor.set_resource(&resource.build());
        Ok(Self { processor, sampler: Sampler { sample } })
    }

    /// Queues the spans of a fact for export. Does not block.
    pub fn trace(&self, fact: &AttemptFact) {
        if let Some(parent) = self.sampler.parent(fact) {
            for span in spans(fact, &parent) {
                self.processor.on_end(span);
            }
        }
    }

    /// Exports the queued spans and stops. Blocks for a few seconds at most.
    pub fn stop(&self) {
        let _ = self.processor.shutdown();
    }
}

#[derive(Debug, Clone, Copy)]
struct Sampler {
    sample: f64,
}

/// The trace of a dispatch, and the span of its sender.
struct Parent {
    trace: TraceId,
    span: SpanId,
}

impl Sampler {
    /// The trace of a dispatch. `None` if it is not exported: the sender decides, or else the sample.
    fn parent(self, fact: &AttemptFact) -> Option<Parent> {
        if let Some((trace, span, flags)) = fact.traceparent.as_deref().and_then(parse) {
            return flags.is_sampled().then_some(Parent { trace, span });
        }
        let uid = fact.attempt.uid;
        // The same in every process, so that a trace is whole.
        let hash = Sha256::digest(uid);
        let random = hash[..8].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let is_sampled = (random as f64) < self.sample * 2f64.powi(64);
        is_sampled.then_some(Parent { trace: TraceId::from_bytes(*uid.as_bytes()), span: SpanId::INVALID })
    }
}

/// Parses a W3C trace context (`00-<trace>-<span>-<flags>`).
fn parse(traceparent: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let mut parts = traceparent.split('-').skip(1);
    let trace = TraceId::from_hex(parts.next()?).ok()?;
    let span = SpanId::from_hex(parts.next()?).ok()?;
    Some((trace, span, TraceFlags::new(u8::from_str_radix(parts.next()?, 16).ok()?)))
}

fn span_id(fact: &AttemptFact, n: u16) -> SpanId {
    let hash = Sha256::new().chain_update(fact.attempt.uid).chain_update(n.to_be_bytes()).finalize();
    let mut id = [0; 8];
    id.copy_from_slice(&hash[..8]);
    SpanId::from_bytes(id)
}

/// The spans that a fact ends.
fn spans(fact: &AttemptFact, parent: &Parent) -> Vec<SpanData> {
    let root = span_id(fact, 0);
    let cell = &fact.cell;
    let attributes = || {
        vec![
            KeyValue::new("otpost.attempt", fact.attempt.to_string()),
            KeyValue::new("otpost.tenant", cell.tenant.clone()),
            KeyValue::new("otpost.country", cell.country.clone()),
            KeyValue::new("otpost.channel", cell.channel.as_str()),
            KeyValue::new("otpost.carrier", cell.carrier.clone()),
        ]
    };
    let span = |name: &'static str, kind, id, above, (begin, end): (Timestamp, Timestamp)| SpanData {
        span_context: context(parent.trace, id),
        parent_span_id: above,
        parent_span_is_remote: above == parent.span,
        span_kind: kind,
        name: name.into(),
        start_time: begin.into(),
        end_time: end.max(begin).into(),
        attributes: attributes(),
        dropped_attributes_count: 0,
        events: opentelemetry_sdk::trace::SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("otpost").build(),
    };
    // A fact about an attempt whose request has ended: a moment, with a link to the request.
    let linked = |name: &'static str, n: u16| {
        let mut hash = Sha256::new().chain_update(fact.attempt.uid).chain_update(name);
        hash.update(fact.at.as_nanosecond().to_be_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&hash.finalize()[..8]);
        let mut moment = span(name, SpanKind::Consumer, SpanId::from_bytes(id), root, (fact.at, fact.at));
        moment.links.links.push(Link::with_context(context(parent.trace, span_id(fact, n))));
        moment
    };
    let n = fact.attempt.n;
    match &fact.event {
        AttemptEvent::Answered { outcome, is_repeat, code, .. } => {
            let mut send = span("send", SpanKind::Client, span_id(fact, n), root, (fact.begun_at, fact.at));
            send.attributes.push(KeyValue::new("otpost.outcome", outcome.word()));
            send.attributes.push(KeyValue::new("otpost.repeat", *is_repeat));
            send.attributes.extend(code.clone().map(|code| KeyValue::new("otpost.carrier_code", code)));
            if *outcome != Outcome::Accepted {
                send.status = Status::error(outcome.word());
            }
            let whole = span("dispatch", SpanKind::Consumer, root, parent.span, (fact.admitted_at, fact.at));
            // Later attempts belong to the same dispatch, whose span has ended.
            if n == 1 { vec![whole, send] } else { vec![send] }
        }
        AttemptEvent::Receipt { status, code, .. } => {
            let mut receipt = linked("receipt", n);
            receipt.attributes.push(KeyValue::new("otpost.status", status.as_str()));
            receipt.attributes.extend(code.clone().map(|code| KeyValue::new("otpost.carrier_code", code)));
            if *status == ReceiptStatus::Bad {
                receipt.status = Status::error("undelivered");
            }
            vec![receipt]
        }
        AttemptEvent::Verified => vec![linked("verified", n)],
        AttemptEvent::Accepted { .. } => vec![],
    }
}

fn context(trace: TraceId, span: SpanId) -> SpanContext {
    SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use opentelemetry::trace::{SpanId, Status};
    use uuid::Uuid;

    use super::{Sampler, spans};
    use crate::domain::attempt::{AttemptId, Outcome, ReceiptStatus};
    use crate::domain::attempt_fact::{AttemptEvent, AttemptFact};
    use crate::domain::channel::Channel;
    use crate::domain::delivery_cell::Cell;

    const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn fact(n: u16, traceparent: Option<&str>, event: AttemptEvent) -> AttemptFact {
        let t = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let uid = Uuid::from_u128(0x0192_f0c1_2222_7333_8444_5555_6666_7777);
        let traceparent = traceparent.map(str::to_owned);
        let attempt = AttemptId { uid, n };
        let cell = Cell::other(Channel::Sms);
        AttemptFact { attempt, traceparent, cell, admitted_at: t(0), begun_at: t(1), at: t(2), event }
    }

    fn answered(outcome: Outcome) -> AttemptEvent {
        AttemptEvent::Answered { outcome, segments: None, is_repeat: false, code: None }
    }

    #[test]
    fn a_request_is_a_child_of_its_dispatch_and_the_dispatch_of_its_sender() {
        let fact = fact(1, Some(CONTEXT), answered(Outcome::Unknown));
        let spans = spans(&fact, &Sampler { sample: 0.0 }.parent(&fact).unwrap());
        let [whole, send] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!(whole.span_context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(whole.parent_span_id.to_string(), "00f067aa0ba902b7");
        assert_eq!(send.parent_span_id, whole.span_context.span_id());
        assert_eq!(send.span_context.trace_id(), whole.span_context.trace_id());
        assert!(matches!(send.status, Status::Error { .. }));
        assert!(whole.start_time < send.start_time && whole.end_time == send.end_time);
    }

    /// Fails if the ids depend on the process: a receipt may be recorded by another one.
    #[test]
    fn a_receipt_is_linked_to_its_request() {
        let send = fact(2, Some(CONTEXT), answered(Outcome::Accepted));
        let event = AttemptEvent::Receipt { status: ReceiptStatus::Delivered, corrects: false, code: None };
        let receipt = fact(2, Some(CONTEXT), event);
        let of = |fact| spans(fact, &Sampler { sample: 0.0 }.parent(fact).unwrap());
        let (send, receipt) = (of(&send).remove(0), of(&receipt).remove(0));
        assert_eq!(receipt.links.links[0].span_context.span_id(), send.span_context.span_id());
        assert_eq!(receipt.parent_span_id, send.parent_span_id);
    }

    #[test]
    fn the_sender_decides_or_else_the_sample() {
        let sampled = |sample: f64, traceparent: Option<&str>| {
            Sampler { sample }.parent(&fact(1, traceparent, AttemptEvent::Verified)).is_some()
        };
        assert!(sampled(0.0, Some(CONTEXT)));
        assert!(!sampled(1.0, Some(&CONTEXT.replace("-01", "-00"))));
        assert!(sampled(1.0, None) && !sampled(0.0, None));
        let count = (0..4000)
            .filter(|_| {
                let mut fact = fact(1, None, AttemptEvent::Verified);
                fact.attempt.uid = Uuid::now_v7();
                Sampler { sample: 0.25 }.parent(&fact).is_some()
            })
            .count();
        assert!((800..1200).contains(&count), "{count} of 4000");
        let own = fact(1, None, answered(Outcome::Accepted));
        let parent = Sampler { sample: 1.0 }.parent(&own).unwrap();
        assert_eq!(spans(&own, &parent)[0].parent_span_id, SpanId::INVALID);
    }
}
