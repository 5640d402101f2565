//! Links from the page to itself with another filter.

use uuid::Uuid;

use crate::ops::status::Dimension;
use crate::ops::verdict::Group;

/// The value of a dimension in a filter.
pub(super) fn value(filter: &Group, dimension: Dimension) -> Option<&str> {
    match dimension {
        Dimension::Channel => filter.channel.map(crate::domain::channel::Channel::as_str),
        Dimension::Carrier => filter.carrier.as_deref(),
        Dimension::Country => filter.country.as_deref(),
        Dimension::Tenant => filter.tenant.as_deref(),
    }
}

/// The address of the page with this filter, in which one dimension has another value, or none.
pub(super) fn with(filter: &Group, dimension: Dimension, changed: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for own in Dimension::ALL {
        let value = if own == dimension { changed } else { value(filter, own) };
        if let Some(value) = value {
            query.append_pair(own.as_str(), value);
        }
    }
    format!("/?{}", query.finish())
}

/// The address of the page of a dispatch. It keeps the filter, for the way back.
pub(super) fn of_dispatch(filter: &Group, tenant: &str, id: Uuid) -> String {
    let query = to(filter);
    format!("/dispatches/{tenant}/{id}{}", query.strip_prefix('/').unwrap_or_default())
}

/// The address of the page with this filter.
pub(super) fn to(filter: &Group) -> String {
    with(filter, Dimension::Channel, value(filter, Dimension::Channel))
}
