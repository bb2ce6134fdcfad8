//! `/api/v1/notifications`: what whoever runs this node should know now, once or as a stream of server-sent events.
//!
//! Nothing looks at the node while nobody asks. A stream looks every second, and tells what its client has not heard yet.
mod active;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream};
use http::{StatusCode, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Interval, MissedTickBehavior, interval};

use self::active::{Active, Notification, texts};
use super::render::plain;
use crate::json::{push_json_list, push_json_str};
use crate::reply;
use crate::server::{Connection, Stopping};
use crate::state::Api;
use crate::time::rfc3339_text;

/// Streams at a time, as many as Prometheus has.
const LISTENERS_MAX: usize = 16;
/// Between two looks of a stream.
const LOOK: Duration = Duration::from_secs(1);
/// After so much silence a comment is sent, so that a client that is gone without a word is found out.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// What lasts on this node, and who listens.
#[derive(Debug)]
pub(crate) struct Notifications {
    active: Mutex<Active>,
    seats: Arc<Semaphore>,
}

impl Default for Notifications {
    fn default() -> Self {
        Self { active: Mutex::default(), seats: Arc::new(Semaphore::new(LISTENERS_MAX)) }
    }
}

impl Notifications {
    /// Looks at the node.
    fn look(&self, api: &Api) -> Active {
        let backend = api.backend();
        let texts = texts(backend.ready().is_ok(), &backend.troubles());
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.look(texts, api.now_ns());
        active.clone()
    }
}

/// `GET /api/v1/notifications`.
pub(super) async fn now(State(api): State<Api>) -> Response {
    let active = api.notifications().look(&api);
    let mut data = String::new();
    push_json_list(&mut data, active.all(), |out, notification| push(out, notification, true));
    plain(&data)
}

/// `GET /api/v1/notifications/live`: 204 when all seats are taken.
pub(super) async fn live(State(api): State<Api>, request: Request) -> Response {
    let Ok(seat) = Arc::clone(&api.notifications().seats).try_acquire_owned() else {
        return reply::empty(StatusCode::NO_CONTENT);
    };
    // Over HTTP/2 hyper drops the stream of a client that left.
    let watched = request.version() < Version::HTTP_2;
    let connection = request.extensions().get::<Connection>().filter(|_| watched).cloned();
    let stopping = request.extensions().get::<Stopping>().cloned();
    let events = events(Listener::new(api, seat, connection, stopping));
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// A client of the stream; its seat is free again once it is dropped.
struct Listener {
    api: Api,
    _seat: OwnedSemaphorePermit,
    connection: Option<Connection>,
    stopping: Option<Stopping>,
    looks: Interval,
    /// What it has heard, or will once `waiting` is sent.
    told: Active,
    waiting: VecDeque<(Notification, bool)>,
    is_last: bool,
}

impl Listener {
    fn new(api: Api, seat: OwnedSemaphorePermit, connection: Option<Connection>, stopping: Option<Stopping>) -> Self {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (told, waiting) = (Active::default(), VecDeque::new());
        Self { api, _seat: seat, connection, stopping, looks, told, waiting, is_last: false }
    }

    /// The next change. `None` once the client left, or the server stops and all is said.
    async fn next(&mut self) -> Option<(Notification, bool)> {
        loop {
            if let Some(change) = self.waiting.pop_front() {
                return Some(change);
            }
            if self.is_last {
                return None;
            }
            tokio::select! {
                () = closed(self.connection.as_ref()) => return None,
                () = stopped(self.stopping.as_mut()) => self.is_last = true,
                _ = self.looks.tick() => {}
            }
            let active = self.api.notifications().look(&self.api);
            self.waiting.extend(self.told.changes(&active));
            self.told = active;
        }
    }
}

async fn closed(connection: Option<&Connection>) {
    match connection {
        Some(connection) => connection.closed().await,
        None => pending().await,
    }
}

async fn stopped(stopping: Option<&mut Stopping>) {
    match stopping {
        Some(stopping) => stopping.begun().await,
        None => pending().await,
    }
}

fn events(listener: Listener) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(listener, async |mut listener| {
        let (notification, is_active) = listener.next().await?;
        let mut data = String::new();
        push(&mut data, &notification, is_active);
        Some((Ok(Event::default().data(data)), listener))
    })
}

fn push(out: &mut String, notification: &Notification, is_active: bool) {
    out.push_str("{\"text\":");
    push_json_str(out, &notification.text);
    out.push_str(",\"date\":");
    push_json_str(out, &rfc3339_text(notification.since_ns));
    out.push_str(&format!(",\"active\":{is_active}}}"));
}
