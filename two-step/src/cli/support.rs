//! `two-step support`

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::users::{User, core};
use super::{ConfigFile, Failure};
use crate::api::support::{CaseAnswer, sentence};
use crate::flow::{NewCase, SupportRefused};
use crate::store::{SupportAction, SupportCase};

/// Open and approve support cases.
#[derive(Debug, Subcommand)]
pub(super) enum Support {
    /// End the pauses of a user and the methods
    Unlock(Ask),
    /// Turn two-step verification off after the delay; methods are kept
    TurnOff(Ask),
    /// Undo turn-off
    TurnOn(Ask),
    /// Approve a case as a second agent, which ends its delay
    Approve {
        #[command(flatten)]
        file: ConfigFile,
        /// The product
        #[arg(long)]
        product: String,
        /// The second agent, who approves
        #[arg(long)]
        agent: String,
        /// The case's id
        case: Uuid,
    },
}

/// Arguments of every case.
#[derive(Debug, Args)]
pub(super) struct Ask {
    #[command(flatten)]
    of: User,
    /// The agent who opens the case
    #[arg(long)]
    agent: String,
    /// Reason
    #[arg(long)]
    reason: String,
    /// A kind of evidence, such as `id_card`; never an answer. May be repeated
    #[arg(long)]
    evidence: Vec<String>,
}

impl Support {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (action, ask) = match self {
            Self::Unlock(ask) => (SupportAction::Unlock, ask),
            Self::TurnOff(ask) => (SupportAction::TurnOff, ask),
            Self::TurnOn(ask) => (SupportAction::TurnOn, ask),
            Self::Approve { file, product, agent, case } => {
                let done = core(&file, &product)?.approve_case(&product, case, &agent).await?;
                return print(done, false);
            }
        };
        let Ask { of, agent, reason, evidence } = ask;
        let new = NewCase { user: of.id, action, method: None, reason, evidence, agent };
        print(core(&of.file, &of.product)?.open_case(&of.product, new).await?, of.json)
    }
}

fn print(done: Result<SupportCase, SupportRefused>, json: bool) -> Result<(), Failure> {
    let case = done.map_err(|why| Failure::Failed(sentence(why).to_owned()))?;
    if json {
        println!("{}", serde_json::json!(CaseAnswer::from(&case)));
    } else {
        println!("Case {}: {} is {}, due at {}.", case.id, case.action, case.state, case.due_at);
    }
    Ok(())
}
