//! Reasons of states and outcomes, as they are published.

use crate::domain::words::words;

words! {
    /// Why a dispatch or an attempt has its state. Only these reasons are published. Error texts of carriers and libraries never
    /// are.
    Reason {
        /// The number's quota is full.
        Quota = "quota",
        /// The number's quota of calls (voice quota) is full.
        VoiceQuota = "voice_quota",
        /// The number is not possible in its numbering plan.
        NumberNotPossible = "number_not_possible",
        /// Numbers of this kind get no message on the requested channels, such as calls to premium-rate numbers.
        NumberKind = "number_kind",
        /// The country is not served.
        Country = "country",
        /// An operator of otpost blocks the number, or the numbers that begin like it.
        OperatorBlock = "operator_block",
        /// No carrier is configured for the channel and country.
        NoRoute = "no_route",
        /// No carrier had room in time.
        NoPace = "no_pace",
        /// The remaining life of the code was too short.
        Life = "life",
        /// The job's message expired in a queue of RabbitMQ, before a worker read it.
        ExpiredInQueue = "expired_in_queue",
        /// A newer dispatch of the same sign-in replaced it.
        Newer = "newer",
        /// The sender cancelled it.
        Cancel = "cancel",
        /// The sender reported the code as verified.
        Verified = "verified",
        /// The carrier reports that the number does not exist.
        InvalidNumber = "invalid_number",
        /// The number is a landline, which cannot receive texts.
        Landline = "landline",
        /// The recipient opted out by writing STOP to this sender.
        OptedOut = "opted_out",
        /// The recipient or the network blocks the message.
        Blocked = "blocked",
        /// The carrier filtered the message because of its content.
        Content = "content",
        /// The carrier refused this one request. Other requests of this account may be accepted.
        Request = "request",
        /// The carrier refused the account: credentials, suspension or balance.
        Account = "account",
        /// The account may not send to this country, or from this sender.
        Permission = "permission",
        /// The carrier throttled the request (rate limit).
        Throttled = "throttled",
        /// The carrier could not be reached, and nothing was sent.
        NotSent = "not_sent",
        /// The carrier answered that it is unavailable.
        Unavailable = "unavailable",
        /// It is unknown whether the carrier accepted the request.
        Unknown = "unknown",
        /// The handset is switched off or out of reach.
        Unreachable = "unreachable",
        /// The network was congested.
        Congestion = "congestion",
        /// The message expired at the carrier.
        CarrierExpired = "carrier_expired",
        /// The line was busy.
        Busy = "busy",
        /// The call was not answered.
        NoAnswer = "no_answer",
        /// A machine answered the call.
        Machine = "machine",
        /// The call ended without the code: no key was pressed, or the code could not be spoken any more.
        NoKey = "no_key",
        /// The template cannot be rendered, or the sealed code cannot be opened.
        Template = "template",
        /// The carrier gave no reason.
        Unexplained = "unexplained",
    }
}

impl Reason {
    /// Returns whether further requests on the same channel cannot succeed for this number.
    pub fn bars_channel(self) -> bool {
        matches!(self, Self::InvalidNumber | Self::Landline | Self::OptedOut | Self::Blocked | Self::Content)
    }

    /// Returns whether no further request on any channel may be made.
    pub fn ends_plan(self) -> bool {
        self == Self::OptedOut
    }
}

words! {
    /// Why a request was never sent.
    NotSentCause {
        /// The host name could not be resolved.
        Dns = "dns",
        /// The connection was refused, unreachable or timed out.
        Connect = "connect",
        /// Too much time passed after the begin, so nothing was sent.
        TooLate = "too_late",
        /// An operator paused the carrier between the begin and the request.
        Paused = "paused",
    }
}

impl NotSentCause {
    /// Returns whether otpost itself decided not to send. Such an outcome says nothing about the carrier.
    pub fn is_own(self) -> bool {
        matches!(self, Self::TooLate | Self::Paused)
    }
}

words! {
    /// The scope of a carrier's refusal of our account.
    RefusalScope {
        /// The whole account.
        Account = "account",
        /// This channel and country, or this sender.
        Narrow = "narrow",
    }
}
