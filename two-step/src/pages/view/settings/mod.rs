//! The settings: methods, devices, history, turning off and on.

mod change;
mod devices;
mod email;
mod history;
mod home;
mod method;
mod off;
mod proof;

pub use change::Change;
pub use devices::{Device, Devices};
pub use email::{AddEmail, EmailCode, EmailError};
pub use history::{Actor, Entry, History};
pub use home::{MethodRow, Notice, SettingsHome};
pub use method::{CodeOffer, MethodPage, MethodProblem, PhoneChoice, RemoveMethod};
pub use off::{KeptPhone, OffError, OnAgain, TurnOff};
pub use proof::FreshProof;
