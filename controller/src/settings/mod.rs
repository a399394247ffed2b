//! Platform settings: typed, validated, with a default each, so that an empty table is a working platform.
//!
//! [`registry()`] is the one list of what can be set; [`Settings`] is a snapshot with typed getters. A
//! snapshot does not follow changes: load it again on the hint `Changed(Topic::Settings)`.

mod definition;
mod registry;
mod snapshot;

pub use definition::{DefaultValue, Definition, ValueType};
pub use registry::{LEAST_REVISIONS, find, registry};
pub use snapshot::{EndpointMode, Settings, is_at_or_under};
