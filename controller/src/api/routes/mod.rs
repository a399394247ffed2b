//! The routes, one module per kind. A route that is not registered here does not exist, and every one is in
//! the OpenAPI document.

mod app_change;
mod app_drift;
mod app_history;
mod app_logs;
mod app_pause;
mod app_plan;
mod app_revisions;
mod app_rollback;
mod app_scale;
mod app_why;
mod apply;
mod apps;
mod certificates;
mod domains;
mod drafts;
mod nodes;
mod orgs;
mod server;
mod settings;
mod status;
mod tokens;
mod usage;

use aide::OperationOutput;
use aide::axum::ApiRouter;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response as DocResponse, StatusCode as DocStatus};
use api_types::HumanDuration;
use api_types::OrgName;
use axum::Json;
use axum::http::header::ETAG;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth::Caller;
use super::error::ApiResult;
use super::extract::{bad_request, excerpt};
use super::listing::WatchParams;
use super::state::SharedCore;
use super::watch::{self, Listed, Resume};
use crate::store::{ListQuery, Scope, Watched};

/// All routes.
pub(super) fn all() -> ApiRouter<SharedCore> {
    ApiRouter::new()
        .merge(server::routes())
        .merge(apply::routes())
        .merge(orgs::routes())
        .merge(apps::routes())
        .merge(app_change::routes())
        .merge(app_plan::routes())
        .merge(app_scale::routes())
        .merge(app_history::routes())
        .merge(app_revisions::routes())
        .merge(app_rollback::routes())
        .merge(app_logs::routes())
        .merge(app_why::routes())
        .merge(app_pause::routes())
        .merge(app_drift::routes())
        .merge(domains::routes())
        .merge(drafts::routes())
        .merge(nodes::routes())
        .merge(certificates::routes())
        .merge(settings::routes())
        .merge(status::routes())
        .merge(tokens::routes())
        .merge(usage::routes())
}

/// Query of a write.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WriteParams {
    /// Check everything, write nothing.
    #[serde(default)]
    dry_run: bool,
}

/// Query of an apply.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ApplyParams {
    /// Check everything, write nothing.
    #[serde(default)]
    dry_run: bool,
    /// Take over the running Swarm services that `processes.….adopt` names, where they run exactly as the process says. For
    /// administrators of the platform.
    #[serde(default)]
    adopt: bool,
}

/// Query of a change of an app.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ChangeParams {
    /// Check everything, write nothing.
    #[serde(default)]
    dry_run: bool,
    /// What the change came from, for the app's history, such as `set env`: small letters, digits, spaces and `-`.
    #[schemars(regex(pattern = "^[a-z][a-z0-9 -]{0,39}$"))]
    source: Option<String>,
}

impl ChangeParams {
    /// The source, when it is one word or a few.
    fn source(&self, default: &'static str) -> ApiResult<&str> {
        let source = self.source.as_deref().unwrap_or(default);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, ' ' | '-');
        if source.len() <= 40 && source.starts_with(|c: char| c.is_ascii_lowercase()) && source.chars().all(plain) {
            return Ok(source);
        }
        Err(bad_request("source is at most 40 small letters, digits, spaces and -, and begins with a letter"))
    }
}

/// A time, or how long ago.
fn since(text: &str, now: DateTime<Utc>) -> ApiResult<DateTime<Utc>> {
    if let Ok(ago) = text.parse::<HumanDuration>() {
        return Ok(now - ago.chrono());
    }
    // In a query a plus sign reads as a space.
    let time = DateTime::parse_from_rfc3339(&text.replace(' ', "+")).map(|time| time.to_utc());
    time.map_err(|_| {
        bad_request(format!("since is a time such as 2026-01-31T12:00:00Z or a duration such as 10m; \"{}\" is neither", excerpt(text)))
    })
}

/// An object with its version as `ETag`, and the status of what was done.
struct Object<T> {
    status: StatusCode,
    version: Option<String>,
    body: T,
}

impl<T> Object<T> {
    fn ok(version: Option<String>, body: T) -> Self {
        Self { status: StatusCode::OK, version, body }
    }
    fn with(status: StatusCode, version: Option<String>, body: T) -> Self {
        Self { status, version, body }
    }
}

impl<T: Serialize> IntoResponse for Object<T> {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(value) = self.version.and_then(|version| HeaderValue::from_str(&format!("\"{version}\"")).ok()) {
            response.headers_mut().insert(ETAG, value);
        }
        response
    }
}

impl<T: JsonSchema> OperationOutput for Object<T> {
    type Inner = T;
    fn operation_response(ctx: &mut GenContext, operation: &mut Operation) -> Option<DocResponse> {
        Json::<T>::operation_response(ctx, operation)
    }
    fn inferred_responses(ctx: &mut GenContext, operation: &mut Operation) -> Vec<(Option<DocStatus>, DocResponse)> {
        Json::<T>::inferred_responses(ctx, operation)
    }
}

type ObjectResult<T> = ApiResult<Object<T>>;

/// Opens the watch that was asked for in place of a list.
async fn watch<T>(
    caller: &Caller,
    (what, org): (Watched, Option<OrgName>),
    query: ListQuery,
    (params, resume): (WatchParams, Resume),
) -> ApiResult<Listed<T>> {
    let scope = Scope { what, org, object: None };
    let ListQuery { labels, fields, .. } = query;
    let request = watch::Request { scope, labels, fields, from: params.resource_version, resume, last: None };
    watch::open(caller, request).await.map(Listed::Watch)
}

/// Where a watch that goes on after a list begins; read it before the list.
async fn list_version(caller: &Caller, first_page: bool) -> ApiResult<Option<String>> {
    if !first_page {
        return Ok(None);
    }
    Ok(Some(watch::cursor_text(caller.backend().change_cursor().await?)))
}
