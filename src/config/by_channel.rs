//! Sections with one key per channel, such as `routes.sms` and `routes.voice`. A new channel gets its keys without a change here.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

use crate::domain::channel::Channel;

/// A key of such a section.
pub(super) enum Key {
    /// The key of a channel.
    Channel(Channel),
    /// The position of another key in [`SectionKey::fields`].
    Field(usize),
}

/// Reads a key: the prefix and a channel, or one of the other fields.
pub(super) struct SectionKey {
    /// The text before the channel's name; may be empty.
    pub(super) prefix: &'static str,
    /// The other keys of the section.
    pub(super) fields: &'static [&'static str],
}

impl<'de> DeserializeSeed<'de> for SectionKey {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for SectionKey {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key of this section")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
        let channel = |key: &str| key.strip_prefix(self.prefix)?.parse().ok();
        if let Some(channel) = channel(key) {
            return Ok(Key::Channel(channel));
        }
        self.fields.iter().position(|field| *field == key).map(Key::Field).ok_or_else(|| {
            let channels = Channel::ALL.iter().map(|channel| format!("{}{channel}", self.prefix));
            let known = channels.chain(self.fields.iter().map(|field| (*field).to_owned()));
            let known: Vec<String> = known.map(|key| format!("`{key}`")).collect();
            E::custom(format!("unknown field `{key}`, expected one of {}", known.join(", ")))
        })
    }
}

/// Defines a section with the given fields, and with a map from channels to values. The map's keys in the file are `prefix` and
/// the channel's name.
macro_rules! section_by_channel {
    (
        $(#[$meta:meta])* $name:ident {
            $(#[$map_meta:meta])* $prefix:literal => $map:ident: $map_ty:ty = $map_default:expr,
            $($(#[$fmeta:meta])* $field:ident: $ty:ty = $default:expr),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        pub struct $name {
            $(#[$map_meta])* pub $map: std::collections::BTreeMap<Channel, $map_ty>,
            $($(#[$fmeta])* pub $field: $ty),*
        }

        impl Default for $name {
            fn default() -> Self { Self { $map: $map_default.into(), $($field: $default),* } }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Section;

                impl<'de> serde::de::Visitor<'de> for Section {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a section")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        const FIELDS: &[&str] = &[$(stringify!($field)),*];
                        let mut section = $name::default();
                        while let Some(key) = map.next_key_seed(SectionKey { prefix: $prefix, fields: FIELDS })? {
                            match key {
                                Key::Channel(channel) => { section.$map.insert(channel, map.next_value()?); }
                                Key::Field(n) => {
                                    $(if FIELDS[n] == stringify!($field) { section.$field = map.next_value()?; })*
                                }
                            }
                        }
                        Ok(section)
                    }
                }

                deserializer.deserialize_map(Section)
            }
        }
    };
}
pub(super) use section_by_channel;
