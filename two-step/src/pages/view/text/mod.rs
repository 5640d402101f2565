//! All sentences of the pages, in each language.
//!
//! A language is a folder with one value of [`Texts`]. To add one, copy the folder `en`, translate it, and add the
//! language to `Lang`. The compiler reports each missing sentence.

mod de;
mod en;
mod set_up;
mod settings;
mod sign_in;

pub(crate) use de::DE;
pub(crate) use en::EN;
pub(crate) use set_up::{AddApp, Authenticator, Backup, Choose, Done, Phone, PhoneErrors, Recovery, TurnOn};
pub(crate) use settings::{
    Changes, Devices, Email, History, MethodPage, Notices, Off, Proof, Remove, Settings, Stop,
};
pub(crate) use sign_in::{AskApp, Deliveries, EndText, Ended, EntryErrors, Lost, SignIn, Ways};

/// A sentence without a parameter.
pub(crate) type Text = &'static str;
/// A sentence with a text parameter.
pub(crate) type WithWord = fn(&str) -> String;
/// A sentence with a number parameter.
pub(crate) type WithNumber = fn(u32) -> String;

/// All sentences of one language.
pub(crate) struct Texts {
    pub(crate) common: Common,
    pub(crate) time: Time,
    pub(crate) methods: Methods,
    pub(crate) sign_in: SignIn,
    pub(crate) delivery: Deliveries,
    pub(crate) entry_error: EntryErrors,
    pub(crate) ways: Ways,
    pub(crate) ask_app: AskApp,
    pub(crate) lost: Lost,
    pub(crate) ended: Ended,
    pub(crate) choose: Choose,
    pub(crate) backup: Backup,
    pub(crate) authenticator: Authenticator,
    pub(crate) add_app: AddApp,
    pub(crate) phone: Phone,
    pub(crate) phone_error: PhoneErrors,
    pub(crate) recovery: Recovery,
    pub(crate) turn_on: TurnOn,
    pub(crate) done: Done,
    pub(crate) settings: Settings,
    pub(crate) notices: Notices,
    pub(crate) method: MethodPage,
    pub(crate) remove: Remove,
    pub(crate) devices: Devices,
    pub(crate) history: History,
    pub(crate) changes: Changes,
    pub(crate) off: Off,
    pub(crate) email: Email,
    pub(crate) proof: Proof,
    pub(crate) stop: Stop,
}

/// Words that many pages use.
pub(crate) struct Common {
    pub(crate) two_step: Text,
    pub(crate) language: Text,
    pub(crate) account: WithWord,
    pub(crate) back_to: WithWord,
    pub(crate) back: Text,
    pub(crate) cancel: Text,
    pub(crate) error: Text,
    pub(crate) try_again: Text,
    pub(crate) step_of: fn(u32, u32) -> String,
    pub(crate) copy: Text,
    pub(crate) copied: Text,
    pub(crate) print: Text,
}

/// Units and dates. A wait follows the word "in".
pub(crate) struct Time {
    pub(crate) seconds: Text,
    pub(crate) minutes: Text,
    pub(crate) hours: Text,
    pub(crate) days: Text,
    pub(crate) months: [Text; 12],
    pub(crate) date: fn(i8, &str, i16) -> String,
}

/// The names of methods.
pub(crate) struct Methods {
    pub(crate) phone: Text,
    pub(crate) authenticator: Text,
    pub(crate) email: Text,
    pub(crate) app: Text,
    pub(crate) recovery: Text,
    pub(crate) trusted_device: Text,
    pub(crate) interceptable: Text,
}
