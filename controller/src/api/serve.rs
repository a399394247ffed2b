//! Connections: accepts them, bounds them, and ends them in order at shutdown.
//!
//! HTTP/1.1 only. The protocol sniffing that would add cleartext HTTP/2 waits without a limit for the
//! first byte of a connection, and no client of ours needs it; TLS ends at the edge.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::stall::{Stalling, watch_over};
use super::state::{ApiState, Limits, Peer};

/// Pause after a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Largest request head.
const MAX_HEAD: usize = 64 * 1024;

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener is no longer one.
    #[error("the API's listener failed")]
    Listener(#[source] io::Error),
}

/// Serves the API until `shutdown` is cancelled; then requests under way may end within `limits.drain`.
///
/// # Errors
/// When the listener is not usable.
pub async fn serve(listener: TcpListener, state: ApiState, shutdown: CancellationToken) -> Result<(), ServeError> {
    let limits = state.limits;
    let address = listener.local_addr().map_err(ServeError::Listener)?;
    let router = super::router(state, shutdown.clone());
    tracing::info!(%address, "the API listens");
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        // Ended connections are collected as we go, so that the set does not grow.
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                connections.spawn(connection(stream, peer, router.clone(), limits, shutdown.clone(), permit));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain, drained).await.is_err() {
        tracing::warn!(left = connections.len(), "requests did not end in time and are cut off");
        connections.shutdown().await;
    }
    Ok(())
}

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
    _permit: OwnedSemaphorePermit,
) {
    // Log lines are small and must not wait for more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY is not to be had");
    }
    if let Err(error) = watch_over(&stream, limits.stall) {
        tracing::debug!(%peer, %error, "a client that vanishes will be noticed late");
    }
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.header_read).max_buf_size(MAX_HEAD);
    let router = router.map_request(move |mut request: axum::http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Peer(peer.ip()));
        request
    });
    let connection = builder.serve_connection(TokioIo::new(Stalling::new(stream, limits.stall)), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, error = %super::error::chain(&error), "a connection ended with an error");
    }
}
