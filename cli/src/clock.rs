//! The present. The command line is the one place that may ask for it; everything else takes it as an
//! argument, so that its output can be tested.

use chrono::{DateTime, Utc};

/// The present.
#[expect(clippy::disallowed_methods, reason = "the command line is where the present enters")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}
