//! The bounds of a job's fields. Reader and schema use the same.

/// Characters of a name: a tenant's, a template's.
pub const MAX_NAME_CHARS: usize = 64;
/// Characters of a locale: BCP 47 asks readers for no more.
pub const MAX_LOCALE_CHARS: usize = 35;
/// Characters of a sealed value.
pub const MAX_SEALED_CHARS: usize = 8192;
/// Characters of a caller's key for one sign-in.
pub const MAX_SUPERSEDES_CHARS: usize = 64;
/// Entries of `params`.
pub const MAX_PARAMS: usize = 8;
/// Characters of each name and each value of `params`.
pub const MAX_PARAM_CHARS: usize = 32;
/// Characters of `params.origin`, a host name.
pub const MAX_ORIGIN_CHARS: usize = 253;
/// Characters of each label of `params.origin` (RFC 1035, 2.3.4).
pub const MAX_LABEL_CHARS: usize = 63;
/// Characters of `params.token`: 32 bytes are 43 in base64url, and 64 in hexadecimal.
pub const MAX_TOKEN_CHARS: usize = 64;
/// Pairs of `tags`.
pub const MAX_TAGS: usize = 10;
/// Characters of each key and each value of `tags`.
pub const MAX_TAG_CHARS: usize = 128;
/// Seconds until the next channel.
pub const MAX_FALLBACK_S: u32 = 3600;
/// Steps of a plan.
pub const MAX_STEPS: u8 = 4;
