//! The server: four routes, behind the guard.
//!
//! `GET /` is the page, `GET /events` the state as server-sent events, `GET /state` the state once; `POST /fault` and
//! `POST /heal` change a lab. Nothing is read from disk, and no `GET` changes anything.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::WatchStream;

use super::guard::Guard;
use super::observer::{Observer, Order};

/// The longest body, in bytes.
const LONGEST_BODY: usize = 4096;
/// The longest head of a request, in bytes; and the most headers in it.
const LONGEST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;
/// How long a client may take to send the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most connections at a time.
const MOST: usize = 64;
/// The policy of what is not the page.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";

/// What handlers share.
struct Shared {
    guard: Arc<Guard>,
    observer: Observer,
}

/// Serves until accepting connections fails.
pub async fn run(listener: TcpListener, guard: Arc<Guard>, observer: Observer) -> Result<()> {
    let app = router(Arc::new(Shared { guard, observer }));
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        let place = Arc::clone(&places).acquire_owned().await?;
        let Ok((stream, _)) = listener.accept().await else {
            // The client is gone already, or this process has too many files open: neither is the end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let service = TowerToHyperService::new(app.clone());
        tokio::spawn(async move {
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            server.max_buf_size(LONGEST_HEAD).max_headers(MOST_HEADERS);
            // A client that breaks the connection, or the protocol, gets no further answer.
            let _: Result<(), hyper::Error> = server.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/events", get(events))
        .route("/state", get(state))
        .route("/fault", post(fault))
        .route("/heal", post(heal))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .layer(from_fn_with_state(Arc::clone(&shared), guarded))
        .with_state(shared)
}

/// Checks a request, and completes the headers of its response.
async fn guarded(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let checked = shared.guard.check(request.method(), request.uri(), request.headers());
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(why) => said(StatusCode::FORBIDDEN, why),
    };
    let headers = response.headers_mut();
    let fixed = [
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(NOTHING));
    response
}

/// A response of one line.
fn said(status: StatusCode, text: &str) -> Response {
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{text}\n")).into_response()
}

async fn page(State(shared): State<Arc<Shared>>) -> Response {
    let page = shared.observer.now().page;
    let headers =
        [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, page.policy.as_str())];
    (headers, page.html.clone()).into_response()
}

async fn state(State(shared): State<Arc<Shared>>) -> Response {
    shared.observer.look_now().await;
    let live = shared.observer.now().live.to_string();
    ([(CONTENT_TYPE, "application/json")], live + "\n").into_response()
}

async fn events(State(shared): State<Arc<Shared>>) -> Response {
    let (viewer, found) = shared.observer.view();
    let events = WatchStream::new(found).map(move |found| {
        // The stream keeps its viewer.
        let _ = &viewer;
        Ok::<Event, Infallible>(Event::default().data(&*found.live))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(10))).into_response()
}

/// The body of `POST /fault`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Fault {
    action: Action,
    one: String,
    other: Option<String>,
    seconds: Option<f64>,
    latency_ms: Option<u16>,
    loss: Option<f64>,
    bandwidth_kbit: Option<u32>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Action {
    Partition,
    Slow,
}

/// The body of `POST /heal`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Healed {
    one: String,
    other: Option<String>,
}

async fn fault(State(shared): State<Arc<Shared>>, body: Result<Json<Fault>, JsonRejection>) -> Response {
    let Json(Fault { action, one, other, seconds, latency_ms, loss, bandwidth_kbit }) = match body {
        Ok(body) => body,
        Err(rejection) => return rejected(&shared, &rejection),
    };
    let conditions = (latency_ms, loss, bandwidth_kbit);
    let slow = (action == Action::Slow).then_some(conditions);
    if action == Action::Partition && conditions != (None, None, None) {
        return said(StatusCode::BAD_REQUEST, "a partition has no latency, loss or bandwidth");
    }
    let lasts = match seconds.map(Duration::try_from_secs_f64) {
        None => None,
        Some(Ok(lasts)) if !lasts.is_zero() => Some(lasts),
        Some(_) => return said(StatusCode::BAD_REQUEST, "`seconds` is not a time above 0"),
    };
    carry_out(shared, Order::Fault { one, other, slow, lasts }).await
}

async fn heal(State(shared): State<Arc<Shared>>, body: Result<Json<Healed>, JsonRejection>) -> Response {
    match body {
        Ok(Json(Healed { one, other })) => carry_out(shared, Order::Heal { one, other }).await,
        Err(rejection) => rejected(&shared, &rejection),
    }
}

fn rejected(shared: &Shared, rejection: &JsonRejection) -> Response {
    match shared.observer.hand() {
        None => read_only(),
        Some(_) => said(rejection.status(), &rejection.body_text()),
    }
}

fn read_only() -> Response {
    said(
        StatusCode::FORBIDDEN,
        "read-only: on a Mac, `manage-macos-networking.sh partition`, `slow` and `heal` do this",
    )
}

async fn carry_out(shared: Arc<Shared>, order: Order) -> Response {
    let Some(hand) = shared.observer.hand() else { return read_only() };
    let done = tokio::task::spawn_blocking(move || hand(&order)).await;
    shared.observer.look_now().await;
    match done {
        Ok(Ok(words)) => said(StatusCode::OK, &words),
        Ok(Err(error)) => said(StatusCode::CONFLICT, &format!("{error:#}")),
        Err(_) => said(StatusCode::INTERNAL_SERVER_ERROR, "the request was not carried out"),
    }
}
