//! Reads query strings, strictly.

use super::problem::Problem;

/// The values of the names that an operation knows. Another name is refused, and so is one that stands twice.
pub(super) fn read<const N: usize>(
    query: Option<&str>, names: [&str; N],
) -> Result<[Option<String>; N], Problem> {
    let mut values = [const { None }; N];
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let place = names.iter().position(|n| *n == name);
        let place =
            place.ok_or_else(|| Problem::invalid("query", &format!("knows {}", names.join(" and "))))?;
        if values[place].replace(value.into_owned()).is_some() {
            return Err(Problem::invalid(names[place], "stands twice"));
        }
    }
    Ok(values)
}
