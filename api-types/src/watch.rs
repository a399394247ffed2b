//! Watches: what a stream of changes of objects says.
//!
//! A watch first tells every object as it is, then what changes, for as long as the client listens. It is
//! level-triggered: of several changes in a row only the last may be told, and one may be told twice, but what
//! the client has after a bookmark is what the server had.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kinds::Kind;
use crate::meta::{ApiVersion, ObjectMeta};
use crate::problem::Problem;

/// One message of a watch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
#[schemars(rename = "{T}WatchEvent")]
pub enum WatchEvent<T> {
    /// The object is there, or has begun to match the selectors.
    Added(T),
    /// The object is another than before; to a client that does not know it, it is there.
    Modified(T),
    /// The object is gone, or has ceased to match the selectors.
    Deleted(Gone),
    /// Everything before this was told.
    Bookmark(Bookmark),
    /// The watch ends here, and why; a client that may try again resumes from the last bookmark.
    Error(Problem),
}

impl<T> WatchEvent<T> {
    /// The message's word, which is also the event name on the stream.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Added(_) => "ADDED",
            Self::Modified(_) => "MODIFIED",
            Self::Deleted(_) => "DELETED",
            Self::Bookmark(_) => "BOOKMARK",
            Self::Error(_) => "ERROR",
        }
    }
}

/// What is left to say of an object that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gone {
    /// API version of the object.
    pub api_version: ApiVersion,
    /// Its kind.
    pub kind: Kind,
    /// Its identity and last labels.
    pub metadata: ObjectMeta,
}

/// A place to resume from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bookmark {
    /// Send it as `resourceVersion`, or as the header `Last-Event-ID`, to go on from here. Opaque.
    pub resource_version: String,
    /// Whether the objects before this are all that were there when the watch began.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub initial_events_end: bool,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::domain::Domain;

    #[test]
    fn messages_have_the_shape_of_kubernetes() {
        let gone = Gone { api_version: ApiVersion::V1, kind: Kind::Domain, metadata: ObjectMeta::named("a.example.com") };
        let event = WatchEvent::<Domain>::Deleted(gone);
        let json = json!({"type": "DELETED", "object": {"apiVersion": "skyswarm.dev/v1", "kind": "Domain", "metadata": {"name": "a.example.com"}}});
        assert_eq!(serde_json::to_value(&event).expect("serialises"), json);
        assert_eq!(serde_json::from_value::<WatchEvent<Domain>>(json.clone()).expect("reads back"), event);
        assert_eq!(json["type"], event.word());
        let bookmark = WatchEvent::<Domain>::Bookmark(Bookmark { resource_version: "w7".to_owned(), initial_events_end: false });
        assert_eq!(serde_json::to_value(&bookmark).expect("serialises"), json!({"type": "BOOKMARK", "object": {"resourceVersion": "w7"}}));
    }
}
