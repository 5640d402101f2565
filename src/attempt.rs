//! One request to one carrier, what became of it, and the states that follow from it.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::dispatch::Channel;
use crate::words::words;

words! {
    /// Where a dispatch stands: the best truth over all its attempts.
    State {
        /// Admitted; nothing was begun.
        Queued = "queued",
        /// A request was begun; nothing is known to be accepted.
        Sending = "sending",
        /// A carrier accepted it.
        Sent = "sent",
        /// It reached the phone, or a played call was answered.
        Delivered = "delivered",
        /// Every accepted attempt came back bad, and the plan is over.
        Undelivered = "undelivered",
        /// Something was accepted or is unknown, and nothing more was heard of it.
        Unconfirmed = "unconfirmed",
        /// No carrier took it.
        Failed = "failed",
        /// The code's life ended before anything was accepted.
        Expired = "expired",
        /// The number's quota is full.
        Limited = "limited",
        /// Our policy forbids it: the number, its country.
        Refused = "refused",
        /// A newer dispatch of the same sign-in took its place.
        Superseded = "superseded",
        /// Its sender took it back, or saw the code come back before it was sent.
        Cancelled = "cancelled",
    }
}

impl State {
    /// Whether it is an end. Only `delivered` may follow on another end (the one correction).
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Sending | Self::Sent)
    }

    /// Whether a dispatch may go from this state to that one.
    pub fn may_become(self, to: Self) -> bool {
        use State::{Delivered, Queued, Sending, Sent, Unconfirmed, Undelivered};
        match (self, to) {
            (a, b) if a == b => false,
            (Queued, Sending | Sent) | (Sending, Sent) => true,
            (Sent, to) => matches!(to, Delivered | Undelivered | Unconfirmed),
            // `undelivered` and `delivered` pass through `sent`, in one statement at the most.
            (Queued | Sending, to) => to.is_final() && !matches!(to, Delivered | Undelivered),
            (Delivered, _) => false,
            (_, to) => to == Delivered,
        }
    }
}

words! {
    /// Why: the only reasons that leave us. Carriers' and libraries' own texts never do.
    Reason {
        /// The number's quota is full.
        Quota = "quota",
        /// The number's quota of calls is full.
        VoiceQuota = "voice_quota",
        /// The numbering plan has no such number.
        NumberNotPossible = "number_not_possible",
        /// The country is not served.
        Country = "country",
        /// No carrier is configured for the channel and country.
        NoRoute = "no_route",
        /// No carrier had room in time.
        NoPace = "no_pace",
        /// The code's life was too short.
        Life = "life",
        /// A newer dispatch of the same sign-in.
        Newer = "newer",
        /// Taken back by its sender.
        Cancel = "cancel",
        /// The code came back to its sender.
        Verified = "verified",
        /// The carrier says that there is no such number.
        InvalidNumber = "invalid_number",
        /// A landline cannot take texts.
        Landline = "landline",
        /// The person wrote STOP to this sender.
        OptedOut = "opted_out",
        /// The person or the network blocks it.
        Blocked = "blocked",
        /// The words were filtered.
        Content = "content",
        /// This one request was refused; others of the same account pass.
        Request = "request",
        /// The account is refused: credentials, suspension, balance.
        Account = "account",
        /// The account may not send to this country, or from this sender.
        Permission = "permission",
        /// The carrier asks for patience.
        Throttled = "throttled",
        /// The carrier could not be reached.
        NotSent = "not_sent",
        /// The carrier is away.
        Unavailable = "unavailable",
        /// Nobody knows whether the carrier took it.
        Unknown = "unknown",
        /// The handset is off or out of reach.
        Unreachable = "unreachable",
        /// The network was too busy.
        Congestion = "congestion",
        /// The carrier let it expire.
        CarrierExpired = "carrier_expired",
        /// The line was busy.
        Busy = "busy",
        /// Nobody answered.
        NoAnswer = "no_answer",
        /// A machine answered.
        Machine = "machine",
        /// Its template cannot be rendered, or its code cannot be opened any more.
        Template = "template",
        /// The carrier gave no reason.
        Unexplained = "unexplained",
    }
}

impl Reason {
    /// No further request on the same channel makes sense for this number.
    pub fn bars_channel(self) -> bool {
        matches!(
            self,
            Self::InvalidNumber | Self::Landline | Self::OptedOut | Self::Blocked | Self::Content
        )
    }

    /// No further request on any channel may be made.
    pub fn ends_plan(self) -> bool {
        self == Self::OptedOut
    }
}

words! {
    /// Why a request was never written.
    Cause {
        /// The name could not be resolved.
        Dns = "dns",
        /// Refused, unreachable, or the connection took too long.
        Connect = "connect",
        /// We came too late after the begin, and sent nothing.
        TooLate = "too_late",
    }
}

words! {
    /// How far a refusal of our account reaches.
    Scope {
        /// The whole account.
        Account = "account",
        /// This channel and country, or this sender.
        Narrow = "narrow",
    }
}

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// The carrier took it.
    Accepted,
    /// The carrier asks for patience; nothing was accepted.
    Throttled {
        /// How long it asks for.
        retry_after: Option<Duration>,
    },
    /// The request was never written.
    NotSent(Cause),
    /// The carrier says that it took nothing: only answers that its table lists as such.
    Unavailable,
    /// It may have been taken.
    Unknown,
    /// The carrier will not take it, for this reason.
    Rejected(Reason),
    /// Our account or sender is refused.
    Misconfigured(Scope),
}

impl Outcome {
    /// The word in the ledger.
    pub fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Throttled { .. } => "throttled",
            Self::NotSent(_) => "not_sent",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::Rejected(_) => "rejected",
            Self::Misconfigured(_) => "misconfigured",
        }
    }

    /// The second word in the ledger: cause, reason or scope.
    pub fn detail(self) -> Option<&'static str> {
        match self {
            Self::NotSent(cause) => Some(cause.as_str()),
            Self::Rejected(reason) => Some(reason.as_str()),
            Self::Misconfigured(scope) => Some(scope.as_str()),
            _ => None,
        }
    }

    /// The reason that a dispatch ends with, when this was its last word.
    pub fn reason(self) -> Reason {
        match self {
            Self::Accepted | Self::Unknown => Reason::Unknown,
            Self::Throttled { .. } => Reason::Throttled,
            Self::NotSent(_) => Reason::NotSent,
            Self::Unavailable => Reason::Unavailable,
            Self::Rejected(reason) => reason,
            Self::Misconfigured(Scope::Account) => Reason::Account,
            Self::Misconfigured(Scope::Narrow) => Reason::Permission,
        }
    }

    /// Whether it counts toward the attempts that a step may make.
    pub fn counts(self) -> bool {
        !matches!(
            self,
            Self::Throttled { .. } | Self::Misconfigured(_) | Self::NotSent(Cause::TooLate)
        )
    }
}

/// An outcome in the ledger's columns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct OutcomeColumns {
    outcome: Option<String>,
    detail: Option<String>,
    retry_after_ms: Option<u64>,
}

impl From<Outcome> for OutcomeColumns {
    fn from(o: Outcome) -> Self {
        let retry_after_ms = match o {
            Outcome::Throttled { retry_after } => retry_after.map(|d| d.as_millis() as u64),
            _ => None,
        };
        Self {
            outcome: Some(o.word().to_owned()),
            detail: o.detail().map(str::to_owned),
            retry_after_ms,
        }
    }
}

impl TryFrom<OutcomeColumns> for Option<Outcome> {
    type Error = crate::words::UnknownWord;

    fn try_from(c: OutcomeColumns) -> Result<Self, Self::Error> {
        let unknown = crate::words::UnknownWord("Outcome");
        let Some(word) = c.outcome else { return Ok(None) };
        let detail = c.detail.as_deref().ok_or(unknown);
        Ok(Some(match word.as_str() {
            "accepted" => Outcome::Accepted,
            "throttled" => Outcome::Throttled {
                retry_after: c.retry_after_ms.map(Duration::from_millis),
            },
            "not_sent" => Outcome::NotSent(detail?.parse()?),
            "unavailable" => Outcome::Unavailable,
            "unknown" => Outcome::Unknown,
            "rejected" => Outcome::Rejected(detail?.parse()?),
            "misconfigured" => Outcome::Misconfigured(detail?.parse()?),
            _ => return Err(unknown),
        }))
    }
}

/// An attempt's outcome as flat columns (`outcome`, `detail`, `retry_after_ms`), for `#[serde(flatten, with)]`.
mod outcome_columns {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::{Outcome, OutcomeColumns};

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(o: &Option<Outcome>, s: S) -> Result<S::Ok, S::Error> {
        o.map_or_else(OutcomeColumns::default, OutcomeColumns::from)
            .serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Outcome>, D::Error> {
        OutcomeColumns::deserialize(d)?
            .try_into()
            .map_err(D::Error::custom)
    }
}

/// What an answer said beside its outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// The carrier's own id of what it took.
    pub reference: Option<String>,
    /// The carrier's own code of what went wrong.
    pub carrier_code: Option<String>,
    /// How many message parts it was charged as.
    pub segments: Option<u16>,
    /// What it cost, as the carrier writes it, with its currency.
    pub price: Option<String>,
}

/// The answer to one request, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What became of it.
    pub outcome: Outcome,
    /// What else was said.
    pub details: Details,
}

impl From<Outcome> for Judgement {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            details: Details::default(),
        }
    }
}

words! {
    /// How much a receipt says.
    Verdict {
        /// The carrier has it; no end yet.
        Interim = "interim",
        /// It reached the phone, or a played call was answered.
        Delivered = "delivered",
        /// It will not arrive.
        Bad = "bad",
    }
}

/// The carrier's later word about an attempt, read and verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// How much it says.
    pub verdict: Verdict,
    /// Why it is bad, in our words.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// Why it is bad, in the carrier's code.
    #[serde(default)]
    pub carrier_code: Option<String>,
    /// The carrier's id of what it is about.
    #[serde(default)]
    pub reference: Option<String>,
}

/// What is kept of an attempt's receipts: the one that ranks highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// `delivered` or `bad`.
    pub verdict: Verdict,
    /// Why it is bad.
    pub reason: Option<Reason>,
}

/// One request to one carrier for one step. Its id is `<uid>-<n>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number in the dispatch, from 1.
    pub n: u16,
    /// The step it serves, from 1.
    pub step: u8,
    /// The step's channel.
    pub channel: Channel,
    /// The configured carrier.
    pub carrier: String,
    /// 16 random bytes: who knows them may write the outcome.
    pub claim: Uuid,
    /// The unknown attempt that it repeats.
    #[serde(default)]
    pub repeats: Option<u16>,
    /// When it was committed, by the ledger's clock.
    pub begun_at: Timestamp,
    /// When it becomes `Unknown` unless an answer or a receipt has come.
    pub deadline: Timestamp,
    /// When it was closed.
    #[serde(default)]
    pub closed_at: Option<Timestamp>,
    /// What became of it; none while it is open.
    #[serde(flatten, with = "outcome_columns")]
    pub outcome: Option<Outcome>,
    /// What else was said.
    #[serde(flatten)]
    pub details: Details,
    /// The final receipt that counts, if one came.
    #[serde(default)]
    pub receipt: Option<Verdict>,
    /// Why that receipt is bad.
    #[serde(default)]
    pub receipt_reason: Option<Reason>,
    /// That receipt's code, in the carrier's words.
    #[serde(default)]
    pub receipt_code: Option<String>,
    /// When it was recorded.
    #[serde(default)]
    pub receipt_at: Option<Timestamp>,
}

impl Attempt {
    /// It was accepted.
    pub fn is_accepted(&self) -> bool {
        self.outcome == Some(Outcome::Accepted)
    }

    /// Nobody knows whether it was accepted.
    pub fn is_unknown(&self) -> bool {
        self.outcome == Some(Outcome::Unknown)
    }

    /// A receipt says that it reached the phone.
    pub fn is_delivered(&self) -> bool {
        self.receipt == Some(Verdict::Delivered)
    }

    /// A receipt says that it will not arrive, and why.
    pub fn is_bad(&self) -> bool {
        self.receipt == Some(Verdict::Bad)
    }

    /// Whether a receipt changes what is known: it proves acceptance, is the first final one, or outranks a bad one.
    pub fn learns_from(&self, receipt: &Receipt) -> bool {
        let proves = !self.is_accepted();
        match receipt.verdict {
            Verdict::Interim => proves,
            Verdict::Bad => proves || self.receipt.is_none(),
            Verdict::Delivered => proves || !self.is_delivered(),
        }
    }

    /// Takes a receipt in: whatever the outcome was, the attempt is accepted; `delivered` outranks a bad one, else
    /// the first final one stays.
    pub fn learn(&mut self, receipt: &Receipt, now: Timestamp) {
        if !self.is_accepted() {
            self.outcome = Some(Outcome::Accepted);
            self.closed_at.get_or_insert(now);
        }
        if self.details.reference.is_none() {
            self.details.reference.clone_from(&receipt.reference);
        }
        let counts = match receipt.verdict {
            Verdict::Interim => false,
            Verdict::Bad => self.receipt.is_none(),
            Verdict::Delivered => !self.is_delivered(),
        };
        if counts {
            self.receipt = Some(receipt.verdict);
            self.receipt_reason = receipt.reason;
            self.receipt_code.clone_from(&receipt.carrier_code);
            self.receipt_at = Some(now);
        }
    }
}

/// The name of an attempt in callback URLs and events: `<uid>-<n>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId {
    /// The dispatch.
    pub uid: Uuid,
    /// The attempt's number in it.
    pub n: u16,
}

impl std::fmt::Display for AttemptId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.uid, self.n)
    }
}

impl std::str::FromStr for AttemptId {
    type Err = crate::words::UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = crate::words::UnknownWord("AttemptId");
        let (uid, n) = text.rsplit_once('-').ok_or(bad)?;
        let id = Self {
            uid: uid.parse().map_err(|_| bad)?,
            n: n.parse().map_err(|_| bad)?,
        };
        // One spelling only, so that a token is good for one path.
        if id.to_string() == text { Ok(id) } else { Err(bad) }
    }
}

#[cfg(test)]
mod tests {
    use super::{AttemptId, State};

    #[test]
    fn states_never_go_backwards_but_for_the_one_correction() {
        for from in State::ALL {
            for to in State::ALL {
                let may = from.may_become(*to);
                if from.is_final() {
                    assert_eq!(
                        may,
                        *to == State::Delivered && *from != State::Delivered,
                        "{from} to {to}"
                    );
                }
                if *to == State::Queued {
                    assert!(!may, "{from} to {to}");
                }
            }
        }
        assert!(!State::Sent.may_become(State::Sending));
        assert!(!State::Sent.may_become(State::Failed));
    }

    #[test]
    fn an_attempt_id_has_one_spelling() {
        let id = "0192f0c1-2222-7333-8444-555566667777-12";
        assert_eq!(id.parse::<AttemptId>().unwrap().to_string(), id);
        assert!(
            "0192F0C1-2222-7333-8444-555566667777-12"
                .parse::<AttemptId>()
                .is_err()
        );
        assert!(
            "0192f0c1-2222-7333-8444-555566667777-012"
                .parse::<AttemptId>()
                .is_err()
        );
    }
}
