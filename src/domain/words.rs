//! Enums with fixed words: each variant has the same word on the wire, in the ledger and in the contracts.

/// The error of a word that is not in the enum. It names the enum, never the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one of the words of {0}")]
pub struct UnknownWord(pub &'static str);

/// Defines an enum whose variants have fixed words, for strum, serde and the schemas alike. Each word is written once.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(strum::Display, strum::EnumString, strum::VariantArray)]
        #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[strum(parse_err_ty = crate::domain::words::UnknownWord, parse_err_fn = Self::unknown)]
        $(#[$meta])*
        pub enum $name { $($(#[$vmeta])* #[strum(serialize = $word)] #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// All variants, in the order of their definition.
            pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

            /// Returns the word on the wire and in the ledger.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            fn unknown(_: &str) -> crate::domain::words::UnknownWord {
                crate::domain::words::UnknownWord(stringify!($name))
            }
        }

        // The derive of utoipa ignores a `rename` whose word comes from a macro.
        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> { <Self as schemars::JsonSchema>::schema_name() }
        }
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let word = utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::Type::String);
                word.enum_values(Some(Self::ALL.iter().map(|w| w.as_str()))).into()
            }
        }
    };
}
pub(crate) use words;
