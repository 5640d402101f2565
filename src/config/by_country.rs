//! Settings by country.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use crate::domain::dispatch::Country;

/// A map by country. If a country is a key twice, as `gb` and `GB`, the map is refused, because one of its values would be ignored.
#[derive(Debug, Clone)]
pub struct ByCountry<T>(BTreeMap<Country, T>);

impl<T> Default for ByCountry<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Deref for ByCountry<T> {
    type Target = BTreeMap<Country, T>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> DerefMut for ByCountry<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ByCountry<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Countries::<T>(PhantomData)).map(Self)
    }
}

struct Countries<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Countries<T> {
    type Value = BTreeMap<Country, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of countries")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut all = BTreeMap::new();
        while let Some(country) = map.next_key::<Country>()? {
            if all.contains_key(&country) {
                let twice =
                    format!("{country} is written twice, in capital and in small letters; write it once");
                return Err(A::Error::custom(twice));
            }
            all.insert(country, map.next_value()?);
        }
        Ok(all)
    }
}
