//! The routes, one module per kind. A route that is not registered here does not exist, and every one is in
//! the OpenAPI document.

mod app_change;
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
mod domains;
mod nodes;
mod orgs;
mod server;
mod settings;
mod status;
mod tokens;

use aide::OperationOutput;
use aide::axum::ApiRouter;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response as DocResponse, StatusCode as DocStatus};
use axum::Json;
use axum::http::header::ETAG;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::ApiResult;
use super::extract::bad_request;
use super::state::SharedCore;

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
        .merge(app_pause::routes())
