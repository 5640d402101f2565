//! Measures how many challenges `two-step serve` verifies, and the cost of a claim of a trusted device.
//!
//! The service is the release binary with its defaults on PostgreSQL. Only limits for requests from one
//! address are raised. A stand-in for otpost in this process (`standin`) accepts jobs and passes their codes
//! to the users (`user`). The comparison is hand-written with only the necessary statements.

mod commits;
mod service;
mod standin;
mod user;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use futures_util::future::try_join_all;
use serde::Serialize;

use crate::place::Place;
use crate::processes::{self, Process};
use service::Service;
use standin::StandIn;
use user::User;

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// Number of users who sign in
    #[arg(long, default_value_t = 400)]
    users: usize,
    /// Number of parallel users
    #[arg(long, default_value_t = 16)]
    at_once: usize,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// The durations of many repetitions of one action.
#[derive(Debug, Serialize)]
struct Figure {
    act: &'static str,
    times: usize,
    per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Processor time of the service.
    service_cpu_us: Option<f64>,
    /// Processor time of the database's processes.
    postgres_cpu_us: f64,
}

/// The costs before an action.
struct Before {
    began: Instant,
    service_us: Option<u64>,
    postgres_us: u64,
}

impl Before {
    async fn now(place: &Place, service: Option<&Process>) -> anyhow::Result<Self> {
        let service_us = service.map(Process::cpu_us).transpose()?;
        Ok(Self { began: Instant::now(), service_us, postgres_us: postgres_us(place).await? })
    }

    async fn figure(
        self, place: &Place, service: Option<&Process>, act: &'static str, mut took: Vec<Duration>,
    ) -> anyhow::Result<Figure> {
        let seconds = self.began.elapsed().as_secs_f64();
        let times = took.len();
        ensure!(times > 0, "nothing was measured");
        took.sort_unstable();
        let at = |share: f64| {
            let place = ((times as f64 * share).ceil() as usize).clamp(1, times) - 1;
            took[place].as_secs_f64() * 1e3
        };
        let each = |us: u64| us as f64 / times as f64;
        let after = service.map(Process::cpu_us).transpose()?;
        let service_cpu_us = after.zip(self.service_us).map(|(after, before)| each(after - before));
        let postgres_cpu_us = each(postgres_us(place).await?.saturating_sub(self.postgres_us));
        Ok(Figure {
            act,
            times,
            per_s: times as f64 / seconds,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            service_cpu_us,
            postgres_cpu_us,
        })
    }
}

async fn postgres_us(place: &Place) -> anyhow::Result<u64> {
    let database = crate::ledger::connect(&place.database_url).await?;
    let pid: i32 = database.query_one("select pg_backend_pid()", &[]).await?.get(0);
    let server = processes::parent(u32::try_from(pid)?)?;
    processes::family_cpu_us(server)
}

/// Splits the users among parallel tasks.
async fn all<F>(users: &[Arc<User>], at_once: usize, act: F) -> anyhow::Result<Vec<Duration>>
where
    F: AsyncFn(&User) -> anyhow::Result<Duration>,
{
    let share = users.len().div_ceil(at_once);
    let tasks = users.chunks(share).map(async |chunk| {
        let mut took = vec![];
        for user in chunk {
            took.push(act(user).await?);
        }
        anyhow::Ok(took)
    });
    Ok(try_join_all(tasks).await?.concat())
}

pub(crate) async fn print(options: Options) -> anyhow::Result<()> {
    let Options { place, users, at_once, json } = options;
    crate::ledger::recreate_schema(&crate::ledger::connect(&place.database_url).await?, &place).await?;
    let standin = StandIn::start().await?;
    let service = Service::prepare(&place, standin.port)?;
    let process = service.serve()?;
    service.ready().await?;
    let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
    let users: Vec<Arc<User>> =
        (0..users).map(|n| Arc::new(User::new(n, &http, &service, Arc::clone(&standin.codes)))).collect();
    let mut figures = vec![];
    let half = Some(&process);

    eprintln!("Turning {} users on", users.len());
    all(&users, at_once, async |user| user.turn_on().await).await?;

    let before = Before::now(&place, half).await?;
    let took = all(&users, at_once, async |user| user.sign_in().await).await?;
    figures.push(before.figure(&place, half, "challenge by text, verified", took).await?);

    // The first visit sets the cookie of a trusted device.
    all(&users, at_once, async |user| user.trust_this_browser().await).await?;
    let before = Before::now(&place, half).await?;
    let took = all(&users, at_once, async |user| user.claim_trusted().await).await?;
    figures.push(before.figure(&place, half, "claim of a trusted device", took).await?);

    process.stop()?;
    let before = Before::now(&place, None).await?;
    let took = commits::run(&place, users.len() * 2, at_once).await?;
    figures.push(before.figure(&place, None, "four bare commits", took).await?);
    service.forget().await?;
    show(&figures, json)
}

fn show(figures: &[Figure], json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(figures)?);
        return Ok(());
    }
    println!(
        "{:<30}{:>7}{:>9}{:>10}{:>10}{:>12}{:>13}",
        "", "times", "per s", "p50", "p99", "service", "PostgreSQL"
    );
    for f in figures {
        let service = f.service_cpu_us.map_or_else(|| "-".to_owned(), |us| format!("{us:.0} µs"));
        println!(
            "{:<30}{:>7}{:>9.0}{:>7.1} ms{:>7.1} ms{service:>12}{:>10.0} µs",
            f.act, f.times, f.per_s, f.p50_ms, f.p99_ms, f.postgres_cpu_us
        );
    }
    Ok(())
}
