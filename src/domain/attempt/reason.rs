//! Why: the only reasons that leave us, and the finer words of outcomes.

use crate::domain::words::words;

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
        matches!(self, Self::InvalidNumber | Self::Landline | Self::OptedOut | Self::Blocked | Self::Content)
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
    RefusalScope {
        /// The whole account.
        Account = "account",
        /// This channel and country, or this sender.
        Narrow = "narrow",
    }
}
