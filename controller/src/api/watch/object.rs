//! Objects as watches tell them, and which of them a watch is about. Pure.

use api_types::event::Event;
use api_types::kinds::Kind;
use api_types::meta::ApiVersion;
use api_types::selector::{FieldSelector, LabelSelector};
use api_types::watch::Gone;
use api_types::{App, Domain, Node, ObjectMeta, OrgName};
use serde::Serialize;

use crate::api::view;
use crate::store::{ChangedObject, Tombstone, Watched};

/// An object as clients read it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Object {
    App(Box<App>),
    Domain(Box<Domain>),
    Node(Box<Node>),
    Event(Box<Event>),
}

impl From<ChangedObject> for Object {
    fn from(found: ChangedObject) -> Self {
        match found {
            // Secret values are left behind here.
            ChangedObject::App(record) => Self::App(Box::new(view::app(*record))),
            ChangedObject::Domain(domain) => Self::Domain(domain),
            ChangedObject::Node(node) => Self::Node(node),
            ChangedObject::Event(event) => Self::Event(event),
        }
    }
}

impl Object {
    fn metadata(&self) -> Option<&ObjectMeta> {
        match self {
            Self::App(app) => Some(&app.metadata),
            Self::Domain(domain) => Some(&domain.metadata),
            Self::Node(node) => Some(&node.metadata),
            Self::Event(_) => None,
        }
    }

    /// What is left to say when it is no longer selected.
    pub(super) fn gone(&self, what: Watched) -> Gone {
        Gone { api_version: ApiVersion::V1, kind: kind(what), metadata: self.metadata().cloned().unwrap_or_default() }
    }
}

/// What is left to say of what was deleted.
pub(super) fn buried(gone: &Tombstone, what: Watched, org: Option<&OrgName>) -> Gone {
    let metadata = ObjectMeta {
        name: gone.name.clone(),
        org: org.cloned(),
        uid: gone.uid.parse().ok(),
        resource_version: Some(gone.resource_version.to_string()),
        labels: gone.labels.clone(),
        ..ObjectMeta::default()
    };
    Gone { api_version: ApiVersion::V1, kind: kind(what), metadata }
}

fn kind(what: Watched) -> Kind {
    match what {
        Watched::Apps => Kind::App,
        Watched::Domains => Kind::Domain,
        // Events are no objects; they are forgotten, never deleted.
        Watched::Nodes | Watched::Events => Kind::Node,
    }
}

/// Which objects a watch is about.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    pub(super) labels: LabelSelector,
    pub(super) fields: FieldSelector,
}

impl Selection {
    pub(super) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(super) fn matches(&self, object: &Object) -> bool {
        let labels = || object.metadata().is_some_and(|metadata| self.labels.matches(&metadata.labels));
        let fields = || serde_json::to_value(object).is_ok_and(|json| self.fields.matches_json(&json));
        (self.labels.is_empty() || labels()) && (self.fields.is_empty() || fields())
    }
}
