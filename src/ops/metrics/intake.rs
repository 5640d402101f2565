//! Jobs and acts as they come in.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::bounded::{Bounded, increment};
use super::labels::{ActLabels, AdmissionLabels, Names, QuotaLabels, RefusalLabels, Word};
use crate::ops::share::Share;
use crate::ops::verdict::Tally;

/// Upper bounds of the age of a job, in seconds.
const JOB_AGES: [f64; 9] = [0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// A job that is older than this when a worker gets it counts as old. Many codes expire after minutes.
pub const OLD_JOB: Duration = Duration::from_secs(30);

/// Counts of jobs and acts.
#[derive(Debug)]
pub struct IntakeMetrics {
    names: Arc<Names>,
    admissions: Bounded<AdmissionLabels, Counter>,
    refusals: Bounded<RefusalLabels, Counter>,
    quota_refusals: Bounded<QuotaLabels, Counter>,
    job_age: Histogram,
    old_jobs: Share,
    acts: Bounded<ActLabels, Counter>,
}

impl IntakeMetrics {
    pub(super) fn new(names: &Arc<Names>, r: &mut Registry) -> Self {
        let m = Self {
            names: Arc::clone(names),
            admissions: Bounded::counters(names),
            refusals: Bounded::counters(names),
            quota_refusals: Bounded::counters(names),
            job_age: Histogram::new(JOB_AGES),
            old_jobs: Share::default(),
            acts: Bounded::counters(names),
        };
        r.register("admissions", "Jobs received, by source and result", m.admissions.family());
        r.register("refusals", "Jobs refused, by source and reason", m.refusals.family());
        r.register(
            "quota_refusals",
            "Refusals by a quota, by the rule that was full",
            m.quota_refusals.family(),
        );
        r.register_with_unit(
            "job_age",
            "Time from the publishing of a job to its arrival at a worker, for jobs with an AMQP timestamp",
            Unit::Seconds,
            m.job_age.clone(),
        );
        // Without a series the first event is no increase for Prometheus.
        for result in ["dead", "suspect"] {
            m.admissions.with(&AdmissionLabels { door: "amqp", result }, |_| ());
        }
        r.register("acts", "Acts of senders: feedback, next, cancel", m.acts.family());
        m
    }

    /// Counts a received job.
    pub fn count_admission(&self, ingress: Word, result: Word) {
        self.admissions.with(&AdmissionLabels { door: ingress, result }, increment);
    }

    /// Counts a refused job.
    pub fn count_refusal(&self, ingress: Word, reason: Word) {
        self.refusals.with(&RefusalLabels { door: ingress, reason }, increment);
    }

    /// Counts a refusal by a quota. `rule` is its text, such as `5/10m`.
    pub fn count_quota_refusal(&self, quota: Word, rule: &str) {
        self.quota_refusals.with(&QuotaLabels { quota, rule: self.names.get(rule) }, increment);
    }

    /// Records the age of a job from RabbitMQ when a worker gets it.
    pub fn observe_job_age(&self, age: Duration) {
        self.job_age.observe(age.as_secs_f64());
        self.old_jobs.count(age > OLD_JOB);
    }

    /// Returns how many jobs of known age have arrived since the last call, and how many of them were old.
    pub fn take_old_jobs(&self) -> Tally {
        self.old_jobs.take()
    }

    /// Counts an act.
    pub fn count_act(&self, act: Word, result: Word) {
        self.acts.with(&ActLabels { act, result }, increment);
    }
}
