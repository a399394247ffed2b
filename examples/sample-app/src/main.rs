//! The app that the examples and the tests deploy.
//!
//! It behaves like a well-made web app: it reads its port from `PORT`, logs a line per request, and
//! ends cleanly on SIGTERM. It also misbehaves on demand, so that a test can see what the platform says
//! about it. It is not a web server for anything else: no TLS, no HTTP/2, no chunked bodies.
//!
//! | variable | effect |
//! | --- | --- |
//! | `PORT` | where to listen (8080) |
//! | `VERSION`, `GREETING` | shown by `/` |
//! | `HEALTH=fail` | `/healthz` answers 500 |
//! | `HEALTH_DELAY=SECONDS` | `/healthz` answers 503 until then |
//! | `LISTEN_DELAY=SECONDS` | nothing listens until then |
//! | `CRASH=1` | exits with 1 after 200 ms |
//! | `CRASH_AFTER=SECONDS` | exits with 1 after that time |
//! | `MEMORY_MB=N` | takes that much memory after 200 ms, and keeps it |
//! | `DRAIN_MS` | after SIGTERM, how long new connections are still served (1000) |
//!
//! With the argument `worker` it listens nowhere and prints a line each second.

mod dns;
mod http;
mod routes;
mod server;

use std::env;
use std::fmt;
use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

fn main() {
    arm_crash();
    arm_memory();
    let stop = stop_signal();
    let outcome = match env::args().nth(1).as_deref() {
        None | Some("web") => server::serve(&stop),
        Some("worker") => work(&stop),
        Some(other) => Err(format!("unknown process \"{other}\"; \"web\" and \"worker\" are known")),
    };
    if let Err(message) = outcome {
        log(format_args!("fatal: {message}"));
        std::process::exit(1);
    }
}

/// Writes a line to standard output; a log that cannot be written is no reason to fail.
fn log(line: fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// A variable, or its default when it is not set or empty.
fn variable(name: &str, default: &str) -> String {
    env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
}

/// A variable that holds a whole number; anything else counts as not set.
fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.trim().parse().ok()
}

fn arm_memory() {
    let Some(mb) = number("MEMORY_MB") else { return };
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        log(format_args!("taking {mb} MB of memory, as the environment asks"));
        let held = routes::take_memory(mb);
        log(format_args!("holding {held} MB"));
    });
}

fn arm_crash() {
    let delay = if env::var("CRASH").is_ok_and(|value| value == "1") {
        Some(Duration::from_millis(200))
    } else {
        number("CRASH_AFTER").map(Duration::from_secs)
    };
    if let Some(delay) = delay {
        thread::spawn(move || {
            thread::sleep(delay);
            log(format_args!("crashing, as the environment asks"));
            std::process::exit(1);
        });
    }
}

/// Gets one message at the first SIGTERM or SIGINT.
fn stop_signal() -> Receiver<()> {
    let (sender, receiver) = channel();
    match Signals::new([SIGTERM, SIGINT]) {
        Ok(mut signals) => {
            thread::spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    log(format_args!("got signal {signal}, stopping"));
                    let _ = sender.send(());
                }
            });
        }
        Err(error) => log(format_args!("cannot catch signals: {error}")),
    }
    receiver
}

fn work(stop: &Receiver<()>) -> Result<(), String> {
    for tick in 1_u64.. {
        log(format_args!("worker tick {tick}, version {}", variable("VERSION", "1")));
        match stop.recv_timeout(Duration::from_secs(1)) {
            Ok(()) => break,
            Err(RecvTimeoutError::Timeout) => {}
            // Signals cannot be caught: work on until killed.
            Err(RecvTimeoutError::Disconnected) => thread::sleep(Duration::from_secs(1)),
        }
    }
    log(format_args!("worker stopped"));
    Ok(())
}
