//! Groups of cells: what a finding can be about.

use super::Cell;
use crate::domain::channel::Channel;
use crate::domain::delivery_cell::{OTHER, UNKNOWN_COUNTRY};
use crate::ops::failures::FailureCount;

/// Number of groups that hold a cell.
pub(super) const GROUPS: usize = 9;

/// Cells that share values. `None` matches every value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Group {
    /// The channel.
    pub channel: Option<Channel>,
    /// The carrier.
    pub carrier: Option<String>,
    /// The country.
    pub country: Option<String>,
    /// The tenant.
    pub tenant: Option<String>,
}

impl Group {
    /// The groups that hold a cell.
    pub(super) fn of(cell: &Cell) -> [Self; GROUPS] {
        let channel = || Some(cell.channel);
        let carrier = || Some(cell.carrier.clone());
        let country = || Some(cell.country.clone());
        let all = Self::default;
        [
            all(),
            Self { channel: channel(), ..all() },
            Self { carrier: carrier(), ..all() },
            Self { country: country(), ..all() },
            Self { tenant: Some(cell.tenant.clone()), ..all() },
            Self { channel: channel(), carrier: carrier(), ..all() },
            Self { channel: channel(), country: country(), ..all() },
            Self { carrier: carrier(), country: country(), ..all() },
            Self { channel: channel(), carrier: carrier(), country: country(), tenant: None },
        ]
    }

    /// Whether the group holds a cell.
    pub fn holds(&self, cell: &Cell) -> bool {
        self.channel.is_none_or(|channel| channel == cell.channel)
            && self.carrier.as_ref().is_none_or(|carrier| *carrier == cell.carrier)
            && self.country.as_ref().is_none_or(|country| *country == cell.country)
            && self.tenant.as_ref().is_none_or(|tenant| *tenant == cell.tenant)
    }

    /// Whether the group holds the messages of a kind of failure. Failures are not counted by tenant.
    pub fn holds_failure(&self, failure: &FailureCount) -> bool {
        self.channel.is_none_or(|channel| channel == failure.channel)
            && self.carrier.as_ref().is_none_or(|carrier| *carrier == failure.carrier)
            && self.country.as_ref().is_none_or(|country| *country == failure.country)
    }

    /// Whether all of its values are names, so that somebody can act on them.
    pub(super) fn is_named(&self) -> bool {
        let values = [&self.carrier, &self.country, &self.tenant];
        values.into_iter().flatten().all(|value| value != OTHER && value != UNKNOWN_COUNTRY)
    }

    pub(super) fn dimensions(&self) -> usize {
        let given =
            [self.channel.is_some(), self.carrier.is_some(), self.country.is_some(), self.tenant.is_some()];
        given.into_iter().filter(|given| *given).count()
    }
}
