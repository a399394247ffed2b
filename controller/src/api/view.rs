//! Stored records as objects of the API. Secret values are dropped here once more, whatever the store gave.

use api_types::api::RevisionInfo;
use api_types::{App, AppSpec, ObjectMeta};

use crate::store::{AppRecord, Revision};

/// A spec whose secrets have keys and no values, and whose users have no passwords.
pub(super) fn without_secrets(mut spec: AppSpec) -> AppSpec {
    for value in spec.secrets.values_mut() {
        *value = None;
    }
    spec.edge.forget_passwords();
    spec
}

/// An app as clients read it.
pub(super) fn app(record: AppRecord) -> App {
    let metadata = ObjectMeta {
        name: record.name.into(),
        org: Some(record.org),
        uid: Some(record.uid),
        generation: Some(record.generation),
        resource_version: Some(record.resource_version.to_string()),
        labels: record.labels,
        owner: None,
        finalizers: record.finalizers,
        creation_timestamp: Some(record.created_at),
        deletion_timestamp: record.deletion_timestamp,
    };
    let mut app = App::new(metadata, without_secrets(record.spec));
    app.status = Some(record.status);
    app
}

/// A line of an app's history.
pub(super) fn revision(revision: Revision) -> RevisionInfo {
    RevisionInfo {
        generation: revision.generation,
        author: revision.author,
        source: revision.source,
        time: revision.created_at,
        verdict: revision.verdict,
        image: revision.spec.image.to_string(),
        resolved_image: revision.resolved_image,
    }
}
