//! The product's own app: one page, whose script does the rest.

use askama::Template;

use super::Page;

/// `/app`: the shell of the app.
#[derive(Debug, Clone, Template)]
#[template(path = "app.html")]
pub struct OwnApp {
    /// Language, product, colour.
    pub page: Page,
    /// The product's name in the configuration, for the addresses of manifest and icon; may be empty.
    pub product: String,
    /// What the app is called.
    pub name: String,
}
