//! `otpost dead`: lists, replays and deletes dead letters. Phone numbers are masked, and codes are never shown.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::publish::{connect, nodes};
use super::{ConfigFile, Failure};
use crate::broker::topology::{self, header};
use crate::broker::{BrowsedMessage, Message, QueueBrowser};
use crate::intake::Job;
use crate::intake::envelope::Envelope;
use crate::seal::Keys;

/// List, replay or delete the dead letters in otpost.dead.
#[derive(Debug, Subcommand)]
pub(super) enum Dead {
    /// List the dead letters, oldest first
    List(List),
    /// Show one dead letter
    Show(SingleLetter),
    /// Publish one dead letter, or all of them, again; those with an expired code are skipped
    Replay(Selection),
    /// Delete one dead letter or all
    Drop(Selection),
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    file: ConfigFile,
    /// Maximum number of dead letters
    #[arg(long, default_value_t = 100)]
    most: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct SingleLetter {
    /// Id of the dead letter, as shown by the list
    letter: String,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = false, args = ["letter", "all"])]
pub(super) struct Selection {
    /// Id of the dead letter, as shown by the list
    letter: Option<String>,
    /// Select all dead letters
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    file: ConfigFile,
}

/// A dead letter with the parts that may be shown.
struct DeadLetter {
    found: BrowsedMessage,
    envelope: Option<Envelope>,
    /// The job in the message, if it can be decoded.
    job: Option<Job>,
    /// The public fields, which are readable even when the job cannot be decoded.
    id: Option<Uuid>,
    expires_at: Option<Timestamp>,
}

impl DeadLetter {
    fn read(found: BrowsedMessage, keys: &Keys) -> Self {
        let envelope = Envelope::open(keys, "otpost.dead", &found.body);
        let body = envelope.as_ref().map_or_else(|| found.body.clone(), |e| e.body().to_vec());
        let job = Job::decode(&body, None, keys, crate::domain::clock::now()).ok();
        let fields: Value = serde_json::from_slice(&body).unwrap_or_default();
        let expires_at = fields["expires_at"].as_str().and_then(|t| t.parse().ok());
        let id = fields["id"].as_str().and_then(|id| id.parse().ok());
        Self { found, envelope, job, id, expires_at }
    }

    fn reason(&self) -> String {
        let field = self.found.header(header::FIELD).unwrap_or("message");
        // A former version let RabbitMQ dead-letter messages to this queue, without a reason of ours.
        let broker = self.found.header("x-first-death-reason");
        let reason = self.found.header(header::REASON).or(broker).unwrap_or("unknown");
        format!("{field}: {reason}")
    }

    fn summary(&self) -> Value {
        let at = self.found.published_at.and_then(|s| Timestamp::from_second(s).ok());
        json!({
            "letter": self.found.message_id,
            "at": at,
            "reason": self.reason(),
            "routing_key": self.envelope.as_ref().map(|e| &e.routing_key),
            "can_be_opened": self.envelope.is_some(),
            "id": self.id,
            "tenant": self.job.as_ref().map(|j| &j.tenant),
            "to": self.job.as_ref().map(|j| j.to.mask()),
            "expires_at": self.expires_at,
            "expired": self.expires_at.map(|at| at <= crate::domain::clock::now()),
            "bytes": self.found.header(header::BYTES).and_then(|b| b.parse::<u64>().ok()),
        })
    }

    /// Why the message cannot be published again. `None` if it can.
    fn replay_obstacle(&self) -> Option<&'static str> {
        let Some(envelope) = &self.envelope else {
            return Some("it was not sealed with a configured root; is one missing in keys.previous?");
        };
        if envelope.cut {
            return Some("its body was truncated");
        }
        let expired = self.expires_at.is_some_and(|at| at <= crate::domain::clock::now());
        expired.then_some("its code has expired")
    }
}

impl Dead {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run().await,
            Self::Show(letter) => letter.run().await,
            Self::Replay(selection) => selection.apply("replayed", DeadAction::Replay).await,
            Self::Drop(selection) => selection.apply("dropped", DeadAction::Drop).await,
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(e: crate::broker::BrokerError) -> Failure {
    Failure::Failed(e.to_string())
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let (most, json) = (self.most, self.json);
        let letters = self.letters(most).await?;
        if json {
            println!("{}", Value::Array(letters.iter().map(DeadLetter::summary).collect()));
            return Ok(());
        }
        if letters.is_empty() {
            println!("There is no dead letter.");
        } else {
            println!("{:<36}  {:<20}  {:<36}  reason", "letter", "since", "dispatch");
        }
        for letter in &letters {
            let summary = letter.summary();
            let text = |name: &str| summary[name].as_str().unwrap_or("-").to_owned();
            let expired = if summary["expired"] == true { "  expired" } else { "" };
            let [letter, at, id, reason] = ["letter", "at", "id", "reason"].map(text);
            println!("{letter:<36}  {at:<20}  {id:<36}  {reason}{expired}");
        }
        Ok(())
    }

    async fn letters(&self, most: usize) -> Result<Vec<DeadLetter>, Failure> {
        let config = self.file.load_existing()?;
        let (keys, mut browser) =
            (config.keys()?, QueueBrowser::dead(&nodes(&config)?).await.map_err(failed)?);
        let mut letters = vec![];
        while letters.len() < most
            && let Some(found) = browser.next().await.map_err(failed)?
        {
            letters.push(DeadLetter::read(found, &keys));
        }
        browser.close().await;
        Ok(letters)
    }
}

impl SingleLetter {
    async fn run(self) -> Result<(), Failure> {
        let letters = self.list.letters(usize::MAX).await?;
        let found = letters.iter().find(|l| l.found.message_id == self.letter).ok_or_else(no_such_letter)?;
        let summary = found.summary();
        if self.list.json {
            println!("{summary}");
            return Ok(());
        }
        for (name, value) in summary.as_object().into_iter().flatten().filter(|(_, v)| !v.is_null()) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            println!("{name:<12} {text}");
        }
        println!(
            "{:<12} {}",
            "replay",
            found.replay_obstacle().map_or("possible".to_owned(), |why| format!("not possible: {why}"))
        );
        Ok(())
    }
}

fn no_such_letter() -> Failure {
    Failure::Failed("there is no such dead letter; see: otpost dead list".to_owned())
}

#[derive(Clone, Copy, PartialEq)]
enum DeadAction {
    Replay,
    Drop,
}

impl Selection {
    async fn apply(self, word: &str, action: DeadAction) -> Result<(), Failure> {
        let config = self.file.load_existing()?;
        let (keys, nodes) = (config.keys()?, nodes(&config)?);
        let broker = connect(nodes.clone()).await?;
        let mut browser = QueueBrowser::dead(&nodes).await.map_err(failed)?;
        let (mut done, mut skipped) = (0, vec![]);
        let mut behind = None;
        while behind != Some(0)
            && let Some(found) = browser.next().await.map_err(failed)?
        {
            // A replayed message that is dead-lettered again goes to the end of the queue. The count stops the loop before it.
            behind = Some(behind.map_or(found.behind, |behind: u32| behind - 1));
            if self.letter.as_ref().is_some_and(|wanted| *wanted != found.message_id) {
                continue;
            }
            let letter = DeadLetter::read(found, &keys);
            if action == DeadAction::Replay {
                if let Some(why) = letter.replay_obstacle() {
                    skipped.push(format!("{}: {why}", letter.found.message_id));
                    continue;
                }
                // Published and confirmed first, removed afterwards: a crash in between leaves a duplicate and loses nothing.
                if let Some(message) = letter.envelope.as_ref().map(|envelope| replayed(envelope, &keys)) {
                    broker.publish(message).await.map_err(|e| Failure::Failed(e.to_string()))?;
                }
            }
            browser.remove(&letter.found).await.map_err(failed)?;
            done += 1;
        }
        browser.close().await;
        broker.close().await;
        for why in &skipped {
            eprintln!("left  {why}");
        }
        if done == 0 && skipped.is_empty() && self.letter.is_some() {
            return Err(no_such_letter());
        }
        println!("{done} {word}, {} left.", skipped.len());
        if action == DeadAction::Replay && done > 0 {
            println!(
                "Messages that still cannot be processed are dead-lettered again; see: otpost dead list"
            );
        }
        if skipped.is_empty() { Ok(()) } else { Err(Failure::AlreadyReported) }
    }
}

/// The message of a replay. It is sealed, because only an envelope of ours keeps the message's broker user. A worker reads it like a
/// quarantined message: alone, so that one that crashes a process affects no other.
fn replayed(envelope: &Envelope, keys: &Keys) -> Message {
    envelope.message(keys, topology::SUSPECT, topology::key::SUSPECT, vec![])
}
