//! `GET /v1/events`: the tenant's events as Server-Sent Events.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt};

use super::authorized::{self, Authorized};
use super::openapi::problems;
use super::problem::{Problem, ProblemKind};
use super::scope;
use crate::outbox::feed::FeedItem;

/// Maximum number of open streams per process.
const MAX_STREAMS: usize = 1000;
/// How long a request waits for the event connection of a process that has just started.
const CONNECTION_WAIT: Duration = Duration::from_secs(3);
/// Interval of the comments that keep idle connections through proxies open.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Follow the tenant's events
///
/// Streams events as Server-Sent Events, from now on. `event` is the event's type, `id` is its id, and `data` is the whole
/// event in one line. Past events are not replayed. A client that reads too slowly gets the event `missed`, whose `data` is the
/// number of lost events. A comment is sent every 15 s. The stream ends when the process stops or receives no more events.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "events",
    responses(
        (status = 200, description = "A stream; the schema is that of each event's `data`",
         body = ref("#/components/schemas/Event"), content_type = "text/event-stream"),
        FollowProblems
    )
)]
pub(super) async fn follow(
    Authorized { api, key, .. }: Authorized<scope::Read>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    if api.state.feed.subscribers() >= MAX_STREAMS {
        return Err(too_many_streams());
    }
    let mut connected = api.state.feed.connected();
    if tokio::time::timeout(CONNECTION_WAIT, connected.wait_for(|connected| *connected)).await.is_err() {
        return Err(away());
    }
    let events = futures_util::stream::unfold(
        (api.state.feed.subscribe(), key.tenant),
        |(mut subscriber, tenant)| async move {
            loop {
                let next = match subscriber.next().await? {
                    FeedItem::Event(event) if event.data.tenant == tenant => {
                        Event::default().id(&event.id).event(&event.kind).data(event.to_json())
                    }
                    FeedItem::Event(_) => continue,
                    // The loss is reported. A client that needs every event uses webhooks or the broker.
                    FeedItem::Missed(count) => Event::default().event("missed").data(count.to_string()),
                };
                return Some((Ok(next), (subscriber, tenant)));
            }
        },
    );
    // The stream ends when this process receives no more events, so that silence never hides a lost event. The client may
    // reconnect.
    let shutdown = api.state.shutdown.clone();
    let over = async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = connected.wait_for(|connected| !connected) => {}
        }
    };
    let events = events.take_until(Box::pin(over));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL)))
}

fn too_many_streams() -> Problem {
    let detail = "this process has too many open streams; connect to another process, or use webhooks";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, ProblemKind::TooManyStreams, detail).retry_after(30)
}

fn away() -> Problem {
    let detail =
        "RabbitMQ does not answer, so this process receives no events now; try again later, or use webhooks";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, ProblemKind::EventsAway, detail).retry_after(5)
}

problems! {
    FollowProblems = authorized::problems::<scope::Read>().into_iter().chain([too_many_streams(), away()]);
}
