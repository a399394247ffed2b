//! Accepts connections, one thread each, and ends without cutting a request.
//!
//! Order of a clean end: answer with `Connection: close` but go on accepting for a short time, because
//! a proxy that does not know yet still sends requests here; then empty the backlog and close the
//! listener; then wait for the requests in flight. The platform's grace period bounds all of it.

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use crate::http;
use crate::{log, number, variable};

const MAX_CONNECTIONS: usize = 1024;
const STACK_BYTES: usize = 128 * 1024;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) started: Instant,
    closing: AtomicBool,
    open: AtomicUsize,
}

impl Shared {
    /// Whether the process is about to end.
    pub(crate) fn closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }
}

/// Counts a connection for as long as it lives, also when its thread panics.
struct OpenConnection(Arc<Shared>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves until the signal comes.
pub(crate) fn serve(stop: &Receiver<()>) -> Result<(), String> {
    let started = Instant::now();
    if let Some(delay) = number("LISTEN_DELAY") {
        thread::sleep(Duration::from_secs(delay));
    }
    let port: u16 = variable("PORT", "8080").parse().map_err(|_| "PORT is not a port number".to_owned())?;
    let listener = listen(port)?;
    log(format_args!("listening on port {port}, version {}", variable("VERSION", "1")));
    let shared = Arc::new(Shared { started, closing: AtomicBool::new(false), open: AtomicUsize::new(0) });

    let acceptor = {
        let shared = Arc::clone(&shared);
        let listener = listener.try_clone().map_err(|error| format!("cannot share the listener: {error}"))?;
        thread::spawn(move || accept_until_woken(&listener, &shared))
    };
    if stop.recv().is_err() {
        // Signals cannot be caught: serve until killed.
        let _ = acceptor.join();
        return Ok(());
    }
    shared.closing.store(true, Ordering::SeqCst);
    thread::sleep(Duration::from_millis(number("DRAIN_MS").unwrap_or(1000)));
    // From here on accepting does not block: what is queued gets an answer, then the listener goes.
    listener.set_nonblocking(true).map_err(|error| format!("cannot stop listening: {error}"))?;
    let _ = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)));
    let _ = acceptor.join();
    drop(listener);
    while shared.open.load(Ordering::SeqCst) > 0 {
        thread::sleep(Duration::from_millis(10));
    }
    log(format_args!("stopped"));
    Ok(())
}

/// Both address families where there are two, else IPv4.
fn listen(port: u16) -> Result<TcpListener, String> {
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| TcpListener::bind(("0.0.0.0", port)))
        .map_err(|error| format!("cannot listen on port {port}: {error}"))
}

/// Blocks in `accept` until the listener no longer blocks, then empties the backlog.
fn accept_until_woken(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => start(stream, shared),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            Err(error) => {
                log(format_args!("cannot accept: {error}"));
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn start(stream: TcpStream, shared: &Arc<Shared>) {
    // Over the limit the stream is dropped, which closes it.
    if shared.open.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS {
        shared.open.fetch_sub(1, Ordering::SeqCst);
        return;
    }
    let guard = OpenConnection(Arc::clone(shared));
    let spawned = thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        // An accepted stream may inherit the listener's mode.
        if stream.set_nonblocking(false).is_ok() {
            http::converse(&stream, &guard.0);
        }
    });
    if let Err(error) = spawned {
        log(format_args!("cannot start a thread: {error}"));
    }
}
