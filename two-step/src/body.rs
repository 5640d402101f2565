//! Bodies of requests, read to a bound.

use axum::body::{Body, Bytes};
use futures_util::StreamExt;

/// Bytes of a body that is too big which are read all the same: a client that is still sending would not read the answer.
const MAX_HEARD_BYTES: usize = 32 << 20;

/// Why a body is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It has more bytes than it may.
    TooBig,
    /// It broke off before its end.
    BrokenOff,
}

/// Reads a body of at most so many bytes.
pub(crate) async fn read(body: Body, most: usize) -> Result<Bytes, Refused> {
    let (mut kept, mut length, mut chunks) = (vec![], 0, body.into_data_stream());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refused::BrokenOff)?;
        length += chunk.len();
        if length > MAX_HEARD_BYTES {
            break;
        }
        if length <= most {
            kept.extend_from_slice(&chunk);
        }
    }
    if length > most { Err(Refused::TooBig) } else { Ok(kept.into()) }
}
