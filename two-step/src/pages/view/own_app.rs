//! The product's own app: one page, which its script fills.

use askama::Template;

use super::Page;

/// `/app`: the page of the app.
#[derive(Debug, Clone, Template)]
#[template(path = "app.html")]
pub struct OwnApp {
    /// Language, product, colour.
    pub page: Page,
    /// The product's name in the configuration, for the URLs of manifest and icon; may be empty.
    pub product: String,
    /// The app's name.
    pub name: String,
}
