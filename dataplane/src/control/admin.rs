//! Admin endpoints: `/livez`, `/readyz` and `/metrics`, plain HTTP for an address that only operators reach.
//!
//! * `/livez`: 200 as long as the control thread answers.
//! * `/readyz`: 200 when traffic is welcome, otherwise 503 with the reason.
//! * `/metrics`: the counters of all shards as Prometheus text.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::observe::counters::ShardStats;
use crate::observe::metrics;

/// What the endpoints report on.
#[derive(Clone)]
pub struct AdminState {
    /// Statistics of each shard, in the shards' order.
    pub shards: Arc<[ShardStats]>,
    /// Whether traffic is welcome; the error says why not.
    pub ready: Arc<dyn Fn() -> Result<(), &'static str> + Send + Sync>,
}

impl std::fmt::Debug for AdminState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminState")
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}

/// Routes of the endpoints.
pub fn router(state: AdminState) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state(state)
}

/// Serves the endpoints until `stop` completes.
///
/// # Errors
/// The listening socket failed.
pub async fn serve(
    listener: TcpListener,
    state: AdminState,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(state))
        .with_graceful_shutdown(stop)
        .await
}

async fn readyz(State(state): State<AdminState>) -> impl IntoResponse {
    match (state.ready)() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn scrape(State(state): State<AdminState>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
        metrics::render(&state.shards),
    )
}

#[cfg(test)]
pub(super) use tests::{block_on, request};

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    pub(in crate::control) fn block_on<T>(task: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), task).await.unwrap() })
    }

    /// Sends one GET request and reads the whole answer.
    pub(in crate::control) async fn request(addr: SocketAddr, target: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[test]
    fn endpoints_answer_until_stopped() {
        block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let open = Arc::new(AtomicBool::new(false));
            let gate = open.clone();
            let state = AdminState {
                shards: [ShardStats::new()].into(),
                ready: Arc::new(move || {
                    if gate.load(Ordering::Relaxed) {
                        Ok(())
                    } else {
                        Err("draining")
                    }
                }),
            };
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let server = tokio::spawn(serve(listener, state, async { drop(stopped.await) }));

            assert!(request(addr, "/livez").await.starts_with("HTTP/1.1 200"));
            let refused = request(addr, "/readyz").await;
            assert!(
                refused.starts_with("HTTP/1.1 503") && refused.ends_with("draining\n"),
                "{refused}"
            );
            open.store(true, Ordering::Relaxed);
            assert!(request(addr, "/readyz").await.starts_with("HTTP/1.1 200"));
            let metrics = request(addr, "/metrics").await;
            assert!(
                metrics.contains("version=0.0.4") && metrics.contains("viaduct_streams_open{shard=\"0\"} 0")
            );
            assert!(request(addr, "/secret").await.starts_with("HTTP/1.1 404"));

            stop.send(()).unwrap();
            server.await.unwrap().unwrap();
        });
    }
}
