//! The smallest unit of what is counted about deliveries.

use crate::domain::attempt::Attempt;
use crate::domain::channel::Channel;
use crate::domain::dispatch::Dispatch;

/// The country of a number whose country is not known.
pub const UNKNOWN_COUNTRY: &str = "??";
/// The value of a dimension whose cells are counted together, because there are too many.
pub const OTHER: &str = "other";

/// The smallest unit of the counts: the attempts of one tenant to one country through one carrier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// The channel.
    pub channel: Channel,
    /// The configured name of the carrier.
    pub carrier: String,
    /// ISO 3166 country of the numbers, or [`UNKNOWN_COUNTRY`].
    pub country: String,
    /// The tenant.
    pub tenant: String,
}

impl Cell {
    /// The cell of an attempt.
    #[must_use]
    pub fn of(d: &Dispatch, attempt: &Attempt) -> Self {
        Self {
            channel: attempt.channel,
            carrier: attempt.carrier.clone(),
            country: d.order.country.clone().unwrap_or_else(|| UNKNOWN_COUNTRY.to_owned()),
            tenant: d.order.tenant.clone(),
        }
    }

    /// The cell that holds what does not fit.
    #[must_use]
    pub fn other(channel: Channel) -> Self {
        let [carrier, country, tenant] = [OTHER; 3].map(str::to_owned);
        Self { channel, carrier, country, tenant }
    }
}
