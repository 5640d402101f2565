//! Parses query strings strictly.

use super::problem::Problem;

/// Returns the values of the known parameters. Unknown and repeated parameters are refused.
pub(super) fn read<const N: usize>(
    query: Option<&str>, names: [&str; N],
) -> Result<[Option<String>; N], Problem> {
    let mut values = [const { None }; N];
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let place = names.iter().position(|n| *n == name);
        let place = place
            .ok_or_else(|| Problem::invalid("query", &format!("may only contain {}", names.join(" and "))))?;
        if values[place].replace(value.into_owned()).is_some() {
            return Err(Problem::invalid(names[place], "is given twice"));
        }
    }
    Ok(values)
}
