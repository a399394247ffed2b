//! Stored records as objects of the API. Secret values are dropped here once more, whatever the store gave.

use api_types::api::RevisionInfo;
use api_types::diff;
use api_types::kinds::app::VerdictPhase;
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

/// A line of an app's history. `previous` is the revision before, if it is still there.
pub(super) fn revision(app: &AppRecord, revision: &Revision, previous: Option<&Revision>) -> RevisionInfo {
    let undecided = matches!(revision.verdict.phase, VerdictPhase::Pending | VerdictPhase::Rolling);
    RevisionInfo {
        generation: revision.generation,
        author: revision.author.clone(),
        source: revision.source.clone(),
        client: revision.client.clone(),
        based_on: revision.based_on,
        time: revision.created_at,
        summary: summary(revision, previous),
        verdict: revision.verdict.clone(),
        superseded: undecided && revision.generation < app.generation,
        serving: app.status.serving.iter().any(|serving| serving.generation == revision.generation),
        image: revision.spec.image.to_string(),
        resolved_image: revision.resolved_image.clone(),
    }
}

/// What a revision changed, in one line.
fn summary(revision: &Revision, previous: Option<&Revision>) -> String {
    let changes = match previous {
        Some(previous) => diff::summary(&diff::diff(&previous.content(), &revision.content())),
        None if revision.generation == 1 => "created".to_owned(),
        None => "the revision before is no longer kept".to_owned(),
    };
    let prefix = match (revision.source.as_str(), revision.based_on) {
        ("retry", Some(number)) => format!("retry of revision {number}"),
        (_, Some(number)) => format!("back to revision {number}"),
        _ if changes.is_empty() => "no change".to_owned(),
        _ => return changes,
    };
    if changes.is_empty() { prefix } else { format!("{prefix}: {changes}") }
}

/// A revision as a manifest: what somebody would have written.
pub(super) fn manifest_of(record: &AppRecord, revision: Revision) -> App {
    let metadata =
        ObjectMeta { name: record.name.to_string(), org: Some(record.org.clone()), labels: record.labels.clone(), ..ObjectMeta::default() };
    App::new(metadata, without_secrets(revision.spec))
}
