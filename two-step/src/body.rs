//! Reads request bodies with a size limit.

use axum::body::{Body, Bytes};
use futures_util::StreamExt;

/// Maximum bytes of an oversized body that are read and discarded. A client that is still sending would not read the
/// answer.
const MAX_DISCARDED_BYTES: usize = 32 << 20;

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The body is larger than the limit.
    TooBig,
    /// The body ended early.
    BrokenOff,
}

/// Reads a body of at most this many bytes.
pub(crate) async fn read(body: Body, most: usize) -> Result<Bytes, Refused> {
    let (mut kept, mut length, mut chunks) = (vec![], 0, body.into_data_stream());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refused::BrokenOff)?;
        length += chunk.len();
        if length > MAX_DISCARDED_BYTES {
            break;
        }
        if length <= most {
            kept.extend_from_slice(&chunk);
        }
    }
    if length > most { Err(Refused::TooBig) } else { Ok(kept.into()) }
}
