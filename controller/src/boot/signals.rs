//! Signals: the first asks for a clean stop, the second does not wait for it.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Exit code of a shell's program that was interrupted.
const INTERRUPTED: i32 = 130;

/// A token that is cancelled at the first SIGTERM or SIGINT. The second ends the process at once; what
/// it leaves running is stopped by the next start.
///
/// # Errors
/// When the operating system refuses the handlers.
pub fn stop_token() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = token.clone();
    tokio::spawn(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if is_first {
                info!("stopping; a second signal ends it at once");
                stop.cancel();
            } else {
                warn!("ended without waiting");
                std::process::exit(INTERRUPTED);
            }
        }
    });
    Ok(token)
}
