//! Checks a manifest as a whole and reports every error at once, with paths.
