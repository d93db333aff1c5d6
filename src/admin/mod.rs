//! The admin listener: `/metrics`, `/healthz` and `/readyz` over HTTP, for monitoring.
//!
//! | path | answers |
//! |---|---|
//! | `/metrics` | all metrics, in the text format of Prometheus |
//! | `/healthz` | 200 while the process works, 503 when only a new start would help |
//! | `/readyz` | 200 while new mail is taken, else 503 with the reason |
//!
//! **Invariant:** nothing that goes wrong here, or is asked here, stops mail or waits in its way: connections are few and short, and
//! the store is only read.

mod bounds;
mod health;
mod readings;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use self::bounds::Few;
use self::health::Health;
use self::readings::Readings;
use crate::clock::Clock;
use crate::store::Store;
use crate::telemetry;
use crate::telemetry::metrics::{self, Exporter};

pub use self::health::Hindrance;

/// How often times that were measured go into their buckets.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// What is asked about.
#[derive(Clone)]
pub struct Subject {
    pub store: Store,
    pub clock: Clock,
    pub hindrance: Hindrance,
}

/// A running admin listener.
#[derive(Debug)]
pub struct Admin {
    pub address: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl Admin {
    /// From now on nobody is answered.
    pub fn stop(self) {
        for task in self.tasks {
            task.abort();
        }
    }
}

/// Answers at `address` until it is stopped. What cannot be had is logged; mail goes on without it.
pub async fn start(address: SocketAddr, subject: Subject) -> Option<Admin> {
    match listen(address).await {
        Ok((listener, address, exporter)) => {
            Some(Admin { address, tasks: serve(listener, exporter, subject) })
        }
        Err(error) => {
            telemetry::admin_trouble(&format!("listening on {address}"), &error);
            None
        }
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr, Exporter), String> {
    let listener = TcpListener::bind(address).await.map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    Ok((listener, address, metrics::install()?))
}

fn serve(listener: TcpListener, exporter: Exporter, subject: Subject) -> Vec<JoinHandle<()>> {
    let health = Health { store: subject.store.clone(), hindrance: subject.hindrance };
    let readings = Arc::new(Readings::new(subject.store, subject.clock));
    let proving = tokio::spawn(Arc::clone(&readings).prove_books_now_and_then());
    let tidying = tokio::spawn(tidy(exporter.clone()));
    let router = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(show_health))
        .route("/readyz", get(show_readiness))
        .with_state(Arc::new(Shared { exporter, health, readings }));
    let answering = tokio::spawn(async move {
        if let Err(error) = axum::serve(Few::new(listener), router).await {
            telemetry::admin_trouble("answering", &error.to_string());
        }
    });
    vec![proving, tidying, answering]
}

/// What the answers are made from.
struct Shared {
    exporter: Exporter,
    health: Health,
    readings: Arc<Readings>,
}

async fn tidy(exporter: Exporter) {
    loop {
        tokio::time::sleep(TIDY_EVERY).await;
        exporter.tidy();
    }
}

async fn show_metrics(State(shared): State<Arc<Shared>>) -> Response {
    metrics::READY.set(&[], u64::from(shared.health.ready().await.is_ok()));
    // What cannot be read is logged, and left as it was: half of the truth is better than none at three in the morning.
    Arc::clone(&shared.readings).refresh().await;
    answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", shared.exporter.render())
}

async fn show_health(State(shared): State<Arc<Shared>>) -> Response {
    verdict(shared.health.alive().await)
}

async fn show_readiness(State(shared): State<Arc<Shared>>) -> Response {
    verdict(shared.health.ready().await)
}

fn verdict(verdict: Result<(), String>) -> Response {
    let (status, text) = match verdict {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    };
    answer(status, "text/plain; charset=utf-8", text)
}

/// One request for each connection: an idle one would keep its place from others.
fn answer(status: StatusCode, content_type: &'static str, text: String) -> Response {
    (status, [(CONTENT_TYPE, content_type), (CONNECTION, "close")], text).into_response()
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("store", &self.store).finish_non_exhaustive()
    }
}
