//! What the pages look like: one struct for each page, one template for each struct.
//!
//! The module is pure. A handler fills a struct and calls `render()`. Nothing here reads a store, a clock or a request.
//! Waits come in as seconds from now, times as Unix seconds.
//!
//! - [`Page`] holds what every page shows: language, product, CSRF value.
//! - [`sign_in`] has the pages of a challenge, [`set_up`] the wizard, [`settings`] the settings, [`stop`] the page that
//!   a notice links to, and [`ended`] every page without a next step.
//! - `text` has every sentence, once for each language. A missing sentence does not compile.
//! - [`assets`] has the style sheet, the script and the icon.
//!
//! Each form is sent by POST and carries the hidden field `csrf`. The doc comment of a struct names its forms: path and
//! fields.

pub mod accent;
pub mod assets;
pub mod country;
pub mod ended;
pub mod lang;
pub mod method;
pub mod own_app;
pub mod page;
pub mod set_up;
pub mod settings;
pub mod sign_in;
pub mod stop;
mod text;
pub mod when;

pub use accent::Accent;
pub use lang::Lang;
pub use method::{Channel, MethodKind, Proof};
pub use page::Page;

#[cfg(test)]
mod tests;
