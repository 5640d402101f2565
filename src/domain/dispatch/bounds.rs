//! Bounds of a job's fields. The JSON reader and the JSON Schema use the same constants.

/// Maximum characters of a name (tenant, template).
pub const MAX_NAME_CHARS: usize = 64;
/// Maximum characters of a locale. BCP 47 requires readers to support no more.
pub const MAX_LOCALE_CHARS: usize = 35;
/// Maximum characters of a sealed value.
pub const MAX_SEALED_CHARS: usize = 8192;
/// Maximum characters of `supersedes`.
pub const MAX_SUPERSEDES_CHARS: usize = 64;
/// Maximum entries of `params`.
pub const MAX_PARAMS: usize = 8;
/// Maximum characters of each name and each value of `params`.
pub const MAX_PARAM_CHARS: usize = 32;
/// Maximum characters of `params.origin`, a host name.
pub const MAX_ORIGIN_CHARS: usize = 253;
/// Maximum characters of each label of `params.origin` (RFC 1035, 2.3.4).
pub const MAX_LABEL_CHARS: usize = 63;
/// Maximum characters of `params.token`: 32 bytes take 43 in base64url, and 64 in hexadecimal.
pub const MAX_TOKEN_CHARS: usize = 64;
/// Maximum pairs of `tags`.
pub const MAX_TAGS: usize = 10;
/// Maximum characters of each key and each value of `tags`.
pub const MAX_TAG_CHARS: usize = 128;
/// Maximum seconds until the next channel is tried.
pub const MAX_FALLBACK_S: u32 = 3600;
/// Maximum steps of a plan.
pub const MAX_STEPS: u8 = 4;

/// Returns whether a text can be the name of a tenant or a template.
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_CHARS).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
}
