//! The process itself: its build, its clock, its maps.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::bounded::Bounded;
use super::labels::{BuildLabels, MapLabels, Names, Word};

/// State of a process.
#[derive(Debug)]
pub struct ProcessMetrics {
    clock_ahead: Gauge<f64, AtomicU64>,
    workers: Gauge,
    map_entries: Bounded<MapLabels, Gauge>,
}

impl ProcessMetrics {
    pub(super) fn new(names: &Arc<Names>, r: &mut Registry) -> Self {
        let m = Self {
            clock_ahead: Gauge::default(),
            workers: Gauge::default(),
            map_entries: Bounded::new(names, Gauge::default, 1),
        };
        r.register_with_unit(
            "clock_ahead",
            "Time by which this machine's clock is ahead of the ledger's",
            Unit::Seconds,
            m.clock_ahead.clone(),
        );
        r.register("workers", "Workers that share the carriers' rate limits", m.workers.clone());
        r.register("map_entries", "Entries of a bounded map of this process", m.map_entries.family());
        let build: Bounded<BuildLabels, Gauge> = Bounded::new(names, Gauge::default, 1);
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        build.with(&BuildLabels { version: env!("CARGO_PKG_VERSION"), profile }, |m| m.set(1));
        r.register("build_info", "The build of this process; always 1", build.family());
        let started: Gauge<f64, AtomicU64> = Gauge::default();
        started.set(crate::domain::clock::now().as_millisecond() as f64 / 1e3);
        r.register_with_unit(
            "start_time",
            "When this process started, in seconds since 1970",
            Unit::Seconds,
            started,
        );
        m
    }

    /// Sets the seconds by which this machine's clock is ahead of the ledger's.
    pub fn set_clock_ahead(&self, seconds: f64) {
        self.clock_ahead.set(seconds);
    }

    /// The seconds by which this machine's clock is ahead of the ledger's.
    pub fn clock_ahead(&self) -> f64 {
        self.clock_ahead.get()
    }

    /// Sets the number of workers that share the carriers' rate limits.
    pub fn set_workers(&self, workers: usize) {
        self.workers.set(i64::try_from(workers).unwrap_or(i64::MAX));
    }

    /// Sets the number of entries of a map.
    pub fn set_map(&self, map: Word, entries: usize) {
        self.map_entries.with(&MapLabels { map }, |m| m.set(entries as i64));
    }
}
