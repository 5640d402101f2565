//! Maps each struct to its table. Also defines the structs that have no rules of their own.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};
use utoipa::ToSchema;
use uuid::Uuid;

use super::record::record;
use super::value::{Cell, Column, Value, words};
use crate::account::Account;
use crate::app_key::AppKey;
use crate::app_request::AppRequest;
use crate::challenge::Challenge;
use crate::code::Code;
use crate::device::{Device, Trust};
use crate::method::{Channel, Method};
use crate::recovery::RecoveryCode;
use crate::result::SigningKey;

/// The purpose of a session.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr, Serialize, Deserialize, ToSchema,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum SessionPurpose {
    /// To set two-step verification up.
    SetUp,
    /// To change the settings.
    Settings,
}

/// A visit to the settings pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The id.
    pub id: Uuid,
    /// The account.
    pub account: Uuid,
    /// The purpose.
    pub purpose: SessionPurpose,
    /// Keyed hash of the secret in its URL.
    pub handle_hash: String,
    /// Keyed hash of the browser that claimed it.
    pub browser_hash: Option<String>,
    /// The return URL.
    pub return_url: String,
    /// The product's `state`.
    pub return_state: Option<String>,
    /// The user's name at the product, for authenticator apps.
    pub display_name: Option<String>,
    /// Language of the pages.
    pub locale: Option<String>,
    /// Keyed hash of the client's address.
    pub client_hash: Option<String>,
    /// When the user last verified a second step in it.
    pub proof_at: Option<Timestamp>,
    /// The account's count of on and off switches when the session started.
    pub account_version: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// The state of a dispatch, in otpost's terms.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr, Serialize, Deserialize, ToSchema,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum DispatchState {
    /// In our outbox.
    Waiting,
    /// otpost accepted it.
    Queued,
    /// otpost is handing it to a carrier.
    Sending,
    /// A carrier accepted it.
    Sent,
    /// Delivered to the phone.
    Delivered,
    /// The carrier reported that it was not delivered.
    Undelivered,
    /// The outcome is unknown.
    Unconfirmed,
    /// No carrier accepted it.
    Failed,
    /// It expired before it was sent.
    Expired,
    /// The number's quota is used up.
    Limited,
    /// The number is not allowed.
    Refused,
    /// A newer dispatch replaced it.
    Superseded,
    /// It was cancelled.
    Cancelled,
}

impl DispatchState {
    /// Returns whether the state is final. Only a late `delivered` can follow.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Waiting | Self::Queued | Self::Sending | Self::Sent)
    }
}

/// A dispatch: a text or call that we ordered from otpost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// The id, also at otpost.
    pub id: Uuid,
    /// The group, which otpost knows as `supersedes`: one per challenge and method.
    pub group_id: Uuid,
    /// The challenge; `None` for a notice.
    pub challenge: Option<Uuid>,
    /// The method.
    pub method: Uuid,
    /// The first channel.
    pub first_channel: Channel,
    /// Whether a call follows a failed text.
    pub call_planned: bool,
    /// When it was created.
    pub issued_at: Timestamp,
    /// When otpost accepted it.
    pub confirmed_at: Option<Timestamp>,
    /// The state.
    pub state: DispatchState,
    /// The channel of the last event.
    pub channel: Option<Channel>,
    /// otpost's reason.
    pub reason: Option<String>,
    /// When the number's quota allows the next dispatch.
    pub retry_at: Option<Timestamp>,
    /// The last event's sequence.
    pub sequence: i64,
    /// If the user requested a call: when it is placed again unless a carrier accepted it.
    pub call_due_at: Option<Timestamp>,
}

impl Dispatch {
    /// Creates a dispatch that waits in the outbox.
    pub fn new(method: Uuid, group_id: Uuid, first_channel: Channel, now: Timestamp) -> Self {
        Self {
            id: super::new_id(),
            group_id,
            challenge: None,
            method,
            first_channel,
            call_planned: false,
            issued_at: now,
            confirmed_at: None,
            state: DispatchState::Waiting,
            channel: None,
            reason: None,
            retry_at: None,
            sequence: 0,
            call_due_at: None,
        }
    }
}

/// The kind of an outbox row. It determines the receiver of the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum OutboxKind {
    /// A job for otpost.
    Dispatch,
    /// A command to otpost: continue with the next step of a dispatch.
    Next,
    /// A command to otpost: cancel a dispatch.
    Cancel,
    /// Feedback to otpost: whether a code was entered correctly.
    Feedback,
    /// A mail.
    Mail,
    /// An event for a product's webhook.
    Webhook,
    /// A push that wakes an app.
    Push,
}

/// A message in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// The id. Rows of one subject are published in the order of their ids.
    pub id: Uuid,
    /// Its kind.
    pub kind: OutboxKind,
    /// The subject: the dispatch, the mail, or the product's event.
    pub subject: Uuid,
    /// The account; `None` if the row does not identify a user.
    pub account: Option<Uuid>,
    /// The body, sealed under this row's id.
    pub body_sealed: String,
    /// The row is dropped after this time.
    pub not_after: Timestamp,
    /// Number of attempts.
    pub tries: u32,
    /// When it is next due.
    pub next_at: Timestamp,
}

/// The counter of a limit for one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// Keyed hash of the limit and its subject.
    pub key_hash: String,
    /// Milliseconds since 1970, as a JSON list, oldest first.
    pub times: String,
    /// When the newest time leaves the window.
    pub expires_at: Timestamp,
}

/// An event for products and for the history. It contains no code, number or address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The id. Readers see events in the order of the column `seq`.
    pub id: Uuid,
    /// The product.
    pub product: String,
    /// The account.
    pub account: Uuid,
    /// The product's id of the user.
    pub user_ref: String,
    /// The type, such as `method.added`.
    pub kind: String,
    /// The time.
    pub at: Timestamp,
    /// `user`, `support:<agent>`, `system`.
    pub actor: String,
    /// Details, JSON.
    pub data: String,
}

/// The stop page of a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeToken {
    /// Keyed hash of the token in its link.
    pub token_hash: String,
    /// The account.
    pub account: Uuid,
    /// The kind of notice.
    pub about: String,
    /// The method that was added, if any.
    pub method: Option<Uuid>,
    /// When the link expires.
    pub until: Timestamp,
}

/// An API key of a back end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The public part of the key.
    pub id: String,
    /// Keyed hash of the whole key.
    pub hash: String,
    /// The product.
    pub product: String,
    /// Its scopes, separated by spaces.
    pub scopes: String,
    /// When it was created.
    pub created_at: Timestamp,
}

/// The stored answer of a request with an `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotent {
    /// Keyed hash of product, path and key.
    pub key_hash: String,
    /// Keyed hash of the request's body.
    pub body_hash: String,
    /// The row's id, which the answer is sealed under.
    pub row_id: Uuid,
    /// The sealed answer; `None` while the request is running.
    pub answer_sealed: Option<String>,
    /// When the row is deleted.
    pub expires_at: Timestamp,
}

/// The action of a support case.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr, Serialize, Deserialize, ToSchema,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum SupportAction {
    /// Ends the pauses of account and methods.
    Unlock,
    /// Sends a code of eight digits to a validated address.
    SendRecoveryCode,
    /// Turns two-step verification off, after a delay.
    TurnOff,
    /// Undoes [`SupportAction::TurnOff`].
    TurnOn,
    /// Removes a method.
    RemoveMethod,
}

/// The state of a support case.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr, Serialize, Deserialize, ToSchema,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum SupportState {
    /// It waits for the end of its delay.
    Waiting,
    /// It was carried out.
    Done,
    /// The user or an agent stopped it.
    Stopped,
}

/// A support case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupportCase {
    /// The id.
    pub id: Uuid,
    /// The account.
    pub account: Uuid,
    /// The action.
    pub action: SupportAction,
    /// The method, for `remove_method`.
    pub method: Option<Uuid>,
    /// The reason, as the agent entered it.
    pub reason: String,
    /// Kinds of evidence, never answers.
    pub evidence: String,
    /// The agent who opened it.
    pub asked_by: String,
    /// The second agent, who ended the delay.
    pub approved_by: Option<String>,
    /// When it was opened.
    pub asked_at: Timestamp,
    /// When it is carried out.
    pub due_at: Timestamp,
    /// The state.
    pub state: SupportState,
    /// Keyed hash of the code that was sent.
    pub code_hash: Option<String>,
    /// When that code expires.
    pub code_until: Option<Timestamp>,
}

words!(SessionPurpose, DispatchState, OutboxKind, SupportAction, SupportState);

record!(Account, "account", id: Uuid = 1, product = 2, user_ref = 3, state = 4, wrong = 5, paused_until = 6, locale = 7,
    created_at = 8, version = 9);
record!(Method, "method", id: Uuid = 1, account = 2, kind = 3, state = 4, reason = 5, label = 6, preferred = 7, channel = 8,
    fallback = 9, no_texts = 10, target_hash = 11, target_sealed = 12, hint = 13, secret_sealed = 14, totp_step = 15, wrong = 16,
    created_at = 17, verified_at = 18, used_at = 19, proved_in = 20, removed_at = 21, from_product = 22);
record!(Challenge, "challenge", id: Uuid = 1, account = 2, purpose = 3, state = 4, session = 5, method = 6, channel = 7,
    handle_hash = 8, browser_hash = 9, return_url = 10, return_state = 11, nonce = 12, wrong = 13, sends = 14, calls = 15,
    next_send_at = 16, client_hash = 17, agent = 18, locale = 19, created_at = 20, expires_at = 21, ended_at = 22,
    ticket_hash = 23, ticket_until = 24, jti = 25, proof = 26, acr = 27, device = 28, redeemed_at = 29,
    answer_hash = 30, place = 31);
record!(Code, "code", id: Uuid = 1, group_id = 2, challenge = 3, method = 4, hash = 5, sealed = 6, created_at = 7, expires_at = 8, undelivered = 9);
record!(RecoveryCode, "recovery_code", id: Uuid = 1, account = 2, n = 3, salt = 4, hash = 5, used_at = 6);
record!(Device, "device", id: Uuid = 1, generation = 2, overlap_until = 3, label = 4, seen_at = 5, void = 6);
record!(Trust, "trust", id: Uuid = 1, device = 2, account = 3, kind = 4, created_at = 5, expires_at = 6, used_at = 7);
record!(SigningKey, "signing_key", id: Uuid = 1, public = 2, sealed = 3, created_at = 4, signs_from = 5, retired_at = 6);
record!(Session, "session", id: Uuid = 1, account = 2, purpose = 3, handle_hash = 4, browser_hash = 5, return_url = 6,
    return_state = 7, display_name = 8, locale = 9, client_hash = 10, proof_at = 11, account_version = 12, created_at = 13,
    expires_at = 14);
record!(Dispatch, "dispatch", id: Uuid = 1, group_id = 2, challenge = 3, method = 4, first_channel = 5, call_planned = 6,
    issued_at = 7, confirmed_at = 8, state = 9, channel = 10, reason = 11, retry_at = 12, sequence = 13, call_due_at = 14);
record!(OutboxRow, "outbox", id: Uuid = 1, kind = 2, subject = 3, body_sealed = 4, not_after = 5, tries = 6, next_at = 7, account = 8);
record!(AppKey, "app_key", method: Uuid = 1, account = 2, setup_name = 3, setup_sealed = 4, setup_until = 5, setup_tries = 6,
    thumbprint = 7, public = 8, display_name = 9, push_sealed = 10, paused_until = 11, seen_at = 12);
record!(AppRequest, "app_request", id: Uuid = 1, challenge = 2, account = 3, method = 4, state = 5, created_at = 6, other_network = 7);
record!(Counter, "counter", key_hash: String = 1, times = 2, expires_at = 3);
record!(Event, "event", id: Uuid = 1, product = 2, account = 3, user_ref = 4, kind = 5, at = 6, actor = 7, data = 8);
record!(NoticeToken, "notice", token_hash: String = 1, account = 2, about = 3, method = 4, until = 5);
record!(ApiKey, "api_key", id: String = 1, hash = 2, product = 3, scopes = 4, created_at = 5);
record!(Idempotent, "idempotency", key_hash: String = 1, body_hash = 2, row_id = 3, answer_sealed = 4, expires_at = 5);
record!(SupportCase, "support_case", id: Uuid = 1, account = 2, action = 3, method = 4, reason = 5, evidence = 6, asked_by = 7,
    approved_by = 8, asked_at = 9, due_at = 10, state = 11, code_hash = 12, code_until = 13);
