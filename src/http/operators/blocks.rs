//! `GET /v1/blocks`, `POST /v1/blocks` and `POST /v1/blocks/remove`.

use axum::Json;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::request::{self, Body, bad};
use super::{ChangeAnswer, log};
use crate::domain::restrictions::{BlockKind, is_prefix};
use crate::http::authorized::operator_problems;
use crate::http::body::Payload;
use crate::http::openapi::problems;
use crate::http::operator::Operator;
use crate::http::problem::{Problem, ProblemKind};
use crate::ledger::{Block, NewBlock, OperatorAct};

/// Maximum number of blocks. Every process holds all of them in memory.
const MAX_BLOCKS: usize = 10_000;

/// All blocks.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct BlockList {
    /// The blocks, newest first; at most 10,000.
    blocks: Vec<BlockAnswer>,
}

/// A block: numbers that get nothing.
#[derive(Debug, Serialize, ToSchema)]
struct BlockAnswer {
    /// The kind of the block.
    kind: BlockKind,
    /// The masked number, the prefix, or the country.
    value: String,
    /// Why.
    reason: String,
    /// The id of the operator's API key.
    by: String,
    /// Since when.
    at: Timestamp,
    /// When the block ends by itself; absent when it lasts until it is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    until: Option<Timestamp>,
}

impl From<Block> for BlockAnswer {
    fn from(block: Block) -> Self {
        let Block { kind, shown, reason, blocked_by, blocked_at, until, .. } = block;
        Self { kind, value: shown, reason, by: blocked_by, at: blocked_at, until }
    }
}

/// What to block: exactly one of `number`, `prefix` and `country`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct BlockBody {
    /// A number in E.164. It is stored as a keyed hash and a mask.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^\\+[1-9][0-9]{6,14}$")]
    number: Option<Zeroizing<String>>,
    /// The first digits of numbers, with the country code.
    #[serde(default)]
    #[schema(pattern = "^\\+[1-9][0-9]{0,8}$")]
    prefix: Option<String>,
    /// A country, as its ISO 3166 code of two letters.
    #[serde(default)]
    #[schema(min_length = 2)]
    country: Option<String>,
    /// Why; for the audit and for other operators.
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
    /// After this time the block ends by itself; without it, it lasts until it is removed.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 31_622_400)]
    for_s: Option<u64>,
}

impl Body for BlockBody {
    const FIELDS: &'static str =
        "one of number, prefix and country (a text), reason (a text), for_s (whole seconds, optional)";
}

/// What not to block any more: exactly one of `number`, `prefix` and `country`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct UnblockBody {
    /// A number in E.164.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^\\+[1-9][0-9]{6,14}$")]
    number: Option<Zeroizing<String>>,
    /// The first digits of numbers, as they were blocked.
    #[serde(default)]
    #[schema(pattern = "^\\+[1-9][0-9]{0,8}$")]
    prefix: Option<String>,
    /// A country, as its ISO 3166 code of two letters.
    #[serde(default)]
    #[schema(min_length = 2)]
    country: Option<String>,
    /// Why; for the audit.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    reason: Option<String>,
}

impl Body for UnblockBody {
    const FIELDS: &'static str = "one of number, prefix and country (a text), reason (a text, optional)";
}

/// What a block applies to, as it is stored and as people may see it.
struct Subject {
    kind: BlockKind,
    value: String,
    shown: String,
}

impl Subject {
    fn of(
        operator: &Operator, number: Option<&str>, prefix: Option<String>, country: Option<String>,
    ) -> Result<Self, Problem> {
        match (number, prefix, country) {
            (Some(number), None, None) => {
                let number = request::number(number)?;
                let value = operator.api.state.rules.current().keys.block_key(&number);
                Ok(Self { kind: BlockKind::Number, value, shown: number.mask() })
            }
            (None, Some(prefix), None) if is_prefix(&prefix) => {
                Ok(Self { kind: BlockKind::Prefix, value: prefix.clone(), shown: prefix })
            }
            (None, Some(_), None) => Err(bad_prefix()),
            (None, None, Some(country)) => {
                let code = String::from(request::country(country)?);
                Ok(Self { kind: BlockKind::Country, value: code.clone(), shown: code })
            }
            _ => Err(not_one()),
        }
    }

    /// For the audit.
    fn text(&self) -> String {
        format!("{} {}", self.kind, self.shown)
    }
}

/// List the blocks
///
/// Blocks of operators. Countries that the configuration does not serve are not among them.
#[utoipa::path(
    get,
    path = "/v1/blocks",
    operation_id = "list_blocks",
    tag = "operators",
    responses((status = 200, description = "The blocks", body = BlockList), ListProblems)
)]
pub(in crate::http) async fn list(operator: Operator) -> Result<Json<BlockList>, Problem> {
    let ledger = &operator.api.state.ledger;
    let mut stored = ledger.restrictions().await?;
    stored.retain_in_force(ledger.now());
    Ok(Json(BlockList { blocks: stored.blocks.into_iter().map(BlockAnswer::from).collect() }))
}

/// Block a number, a prefix or a country
///
/// Jobs for it are refused, from 2 s later at the latest: for a number or prefix with the reason `operator_block`, for a country with
/// `country`. A dispatch that was admitted before is not stopped. A second block of the same value replaces the first.
#[utoipa::path(
    post,
    path = "/v1/blocks",
    operation_id = "add_block",
    tag = "operators",
    request_body(content = BlockBody, content_type = "application/json"),
    responses((status = 200, description = "It is blocked", body = ChangeAnswer), AddProblems)
)]
pub(in crate::http) async fn add(
    operator: Operator, Payload(body): Payload,
) -> Result<Json<ChangeAnswer>, Problem> {
    let body: BlockBody = request::read(&body)?;
    let (reason, duration) = (request::reason(&body.reason)?, request::duration(body.for_s)?);
    let number = body.number.as_ref().map(|number| number.as_str());
    let subject = Subject::of(&operator, number, body.prefix, body.country)?;
    let ledger = &operator.api.state.ledger;
    let mut stored = ledger.restrictions().await?;
    stored.retain_in_force(ledger.now());
    let is_same = |block: &Block| block.kind == subject.kind && block.value == subject.value;
    if stored.blocks.iter().filter(|block| !is_same(block)).count() >= MAX_BLOCKS {
        return Err(full());
    }
    let audit = operator.record(OperatorAct::BlockAdd, subject.text(), Some(reason));
    let Subject { kind, value, shown } = subject;
    let block = NewBlock { kind, value, shown, reason: reason.to_owned(), duration };
    ledger.add_block(&block, &audit).await?;
    log(&audit);
    Ok(Json(ChangeAnswer { changed: true }))
}

/// Remove a block
#[utoipa::path(
    post,
    path = "/v1/blocks/remove",
    operation_id = "remove_block",
    tag = "operators",
    request_body(content = UnblockBody, content_type = "application/json"),
    responses((status = 200, description = "It is not blocked", body = ChangeAnswer), RemoveProblems)
)]
pub(in crate::http) async fn remove(
    operator: Operator, Payload(body): Payload,
) -> Result<Json<ChangeAnswer>, Problem> {
    let body: UnblockBody = request::read(&body)?;
    let reason = request::maybe_reason(body.reason.as_deref())?;
    let number = body.number.as_ref().map(|number| number.as_str());
    let subject = Subject::of(&operator, number, body.prefix, body.country)?;
    let audit = operator.record(OperatorAct::BlockRemove, subject.text(), reason);
    let changed = operator.api.state.ledger.remove_block(subject.kind, &subject.value, &audit).await?;
    if changed {
        log(&audit);
    }
    Ok(Json(ChangeAnswer { changed }))
}

fn not_one() -> Problem {
    let detail = "give exactly one of number, prefix and country";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, ProblemKind::Invalid, detail)
}

fn bad_prefix() -> Problem {
    bad("prefix", "must be + and 1 to 9 digits, the country code first; block longer ones as numbers")
}

fn full() -> Problem {
    let detail = "there are 10,000 blocks, which is the maximum; remove some, or block a prefix";
    Problem::new(StatusCode::CONFLICT, ProblemKind::TooMany, detail)
}

problems! {
    ListProblems = operator_problems();
    AddProblems = operator_problems().into_iter().chain(request::problems::<BlockBody>())
        .chain([not_one(), bad_prefix(), full()]);
    RemoveProblems = operator_problems().into_iter().chain(request::problems::<UnblockBody>())
        .chain([not_one(), bad_prefix()]);
}
