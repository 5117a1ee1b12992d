//! The service at the far end of a quickstart: one page that measures the tunnel through which it was loaded.
//!
//! `/` is the page, `/bytes?n=N` answers with N bytes, `/stats` says what was served so far. Nothing is loaded from
//! elsewhere.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

/// Serves the demo on `listener` (a loopback address) until `stop` completes.
///
/// # Errors
/// The listening socket failed.
pub async fn serve(listener: TcpListener, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    axum::serve(listener, router()).with_graceful_shutdown(stop).await
}

/// Routes of the demo.
pub fn router() -> Router {
    let state = Arc::new(Demo {
        filler: filler(),
        started: Instant::now(),
        requests: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
    });
    Router::new()
        .route(
            "/",
            get(async || ([CSP], [(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE)),
        )
        .route("/bytes", get(bytes))
        .route("/stats", get(stats))
        .with_state(state)
}

struct Demo {
    /// Cut to size for every answer, without a copy.
    filler: Bytes,
    started: Instant,
    requests: AtomicU64,
    bytes: AtomicU64,
}

async fn bytes(State(demo): State<Arc<Demo>>, RawQuery(query): RawQuery) -> Response {
    let wanted = query
        .as_deref()
        .and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("n=")));
    let Some(n) = wanted
        .and_then(|n| n.parse::<usize>().ok())
        .filter(|n| *n <= BYTES_MAX)
    else {
        let text = format!("give the number of bytes, 0 to {BYTES_MAX}: /bytes?n=1024\n");
        return (StatusCode::BAD_REQUEST, text).into_response();
    };
    demo.requests.fetch_add(1, Ordering::Relaxed);
    demo.bytes.fetch_add(n as u64, Ordering::Relaxed);
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, demo.filler.slice(..n)).into_response()
}

async fn stats(State(demo): State<Arc<Demo>>) -> impl IntoResponse {
    let json = format!(
        "{{\"uptime_ms\":{},\"requests\":{},\"bytes\":{}}}\n",
        demo.started.elapsed().as_millis(),
        demo.requests.load(Ordering::Relaxed),
        demo.bytes.load(Ordering::Relaxed)
    );
    (
        [
            (header::CONTENT_TYPE, "application/json"),
            (header::CACHE_CONTROL, "no-store"),
        ],
        json,
    )
}

/// Bytes without a short period, so that nothing on the way can make them smaller.
fn filler() -> Bytes {
    let mut random = fastrand::Rng::with_seed(1);
    let mut bytes = vec![0; BYTES_MAX];
    random.fill(&mut bytes);
    Bytes::from(bytes)
}

const PAGE: &str = include_str!("demo.html");
/// The page needs nothing but itself and its own origin.
const CSP: (HeaderName, &str) = (
    header::CONTENT_SECURITY_POLICY,
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:",
);
/// Longest answer of `/bytes`.
const BYTES_MAX: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::admin::{block_on, request};

    #[test]
    fn page_bytes_and_stats_are_served() {
        block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let server = tokio::spawn(serve(listener, async { drop(stopped.await) }));

            let page = request(addr, "/").await;
            assert!(page.starts_with("HTTP/1.1 200") && page.contains("</html>"));
            let bytes = request(addr, "/bytes?x=1&n=1000").await;
            assert!(bytes.starts_with("HTTP/1.1 200") && bytes.contains("content-length: 1000\r\n"));
            for bad in [
                "/bytes",
                "/bytes?n=-1",
                "/bytes?n=8388609",
                "/bytes?n=99999999999999999999",
            ] {
                assert!(request(addr, bad).await.starts_with("HTTP/1.1 400"), "{bad}");
            }
            assert!(
                request(addr, "/stats")
                    .await
                    .contains("\"requests\":1,\"bytes\":1000}")
            );

            stop.send(()).unwrap();
            server.await.unwrap().unwrap();
        });
    }

    #[test]
    fn page_loads_nothing_from_elsewhere() {
        for word in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!PAGE.contains(word), "{word}");
        }
    }
}
