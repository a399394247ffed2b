//! Ctrl-C ends the program, except while another one has the terminal.

use std::sync::atomic::{AtomicUsize, Ordering};

static HELD: AtomicUsize = AtomicUsize::new(0);

/// Ctrl-C does nothing to this program as long as this lives.
#[must_use = "Ctrl-C is held as long as this lives"]
pub struct Hold;

/// Leaves Ctrl-C to a program that was started.
pub fn hold() -> Hold {
    HELD.fetch_add(1, Ordering::SeqCst);
    Hold
}

impl Drop for Hold {
    fn drop(&mut self) {
        HELD.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Ends at a Ctrl-C that is meant for this program.
pub async fn interrupted() {
    loop {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without a handler the signal ends the program by itself.
            std::future::pending::<()>().await;
        }
        if HELD.load(Ordering::SeqCst) == 0 {
            return;
        }
    }
}
