//! `GET /v1/events`: the tenant's events as they happen, as Server-Sent Events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt};
use tokio::sync::broadcast::error::RecvError;

use super::Api;
use super::key::Scope;
use super::problem::Problem;

/// Streams that one process holds open at most.
const MOST: usize = 1000;
/// A comment that keeps idle connections, and proxies between, alive.
const ALIVE: Duration = Duration::from_secs(15);

/// From now on, until the listener or the process ends.
pub(super) async fn follow(
    State(api): State<Arc<Api>>, headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let key = api.keyring.check(&headers, Scope::Read).await?;
    if api.feed.listeners() >= MOST {
        let detail = "too many streams are open here; listen at another instance, or use webhooks";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", detail).retry_after(30));
    }
    let events =
        futures_util::stream::unfold((api.feed.listen(), key.tenant), |(mut feed, tenant)| async move {
            loop {
                let next = match feed.recv().await {
                    Ok(event) if event.data.tenant == tenant => {
                        Event::default().id(&event.id).event(&event.kind).data(event.to_json())
                    }
                    Ok(_) => continue,
                    // It is said, not hidden: who must have all of them uses webhooks or the broker.
                    Err(RecvError::Lagged(missed)) => {
                        Event::default().event("missed").data(missed.to_string())
                    }
                    Err(RecvError::Closed) => return None,
                };
                return Some((Ok(next), (feed, tenant)));
            }
        });
    let events = events.take_until(api.shutdown.clone().cancelled_owned());
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE)))
}
