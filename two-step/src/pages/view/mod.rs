//! The views of the pages: one struct for each page, one template for each struct.
//!
//! A handler fills a struct and calls `render()`. The module is pure: it reads no store, clock or request. Waits are
//! given in seconds from now, times in Unix seconds.
//!
//! - [`Page`] is the part of every page: language, product, CSRF value.
//! - [`sign_in`] has the pages of a challenge, [`set_up`] the wizard, [`settings`] the settings, [`stop`] the stop page
//!   of notices, and [`ended`] every page without a form.
//! - `text` has all sentences in each language. A missing sentence is a compile error.
//! - [`assets`] has the style sheet, the script and the icon.
//!
//! Each form is sent by POST and contains the hidden field `csrf`. The doc comment of a struct lists its forms with
//! path and fields.

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
