//! Manifests for services that run, whoever made them.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use api_types::AppName;
use api_types::api::{Drafts, Role};
use axum::Json;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::adoption::permit;
use crate::api::auth::Caller;
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::ApiResult;
use crate::api::examples;
use crate::api::extract::{Params, bad_request};
use crate::api::state::{DraftQuery, SharedCore};

/// Most services of one question.
const MAX_SERVICES: usize = 50;

pub(super) fn routes() -> ApiRouter<SharedCore> {
    ApiRouter::new().api_route(
        "/v1/drafts",
        get_with(get, |op| {
            describe(
                op,
                Tag::Platform,
                "getDrafts",
                "Manifests for running services",
                "What Swarm services that somebody else made would be as apps: services of one image become the processes of one app. What a \
                 manifest cannot say is in the notes. Applied with `?adopt=true` as they are, they take the services over without a restart \
                 of a task. Nothing is written. Name services, a stack, or both.",
            )
            .answer_example(200, examples::drafts())
        }),
    )
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DraftParams {
    /// Names of services, with commas between them.
    service: Option<String>,
    /// Name of a stack: all its services.
    stack: Option<String>,
    /// Name of the app, or first part of the names of several.
    app: Option<AppName>,
}

async fn get(caller: Caller, Params(params): Params<DraftParams>) -> ApiResult<Json<Drafts>> {
    caller.require(Role::Viewer)?;
    permit(&caller)?;
    let names = params.service.iter().flat_map(|names| names.split(',')).map(str::trim).filter(|name| !name.is_empty());
    let services: Vec<String> = names.map(str::to_owned).collect();
    let stack = params.stack.filter(|stack| !stack.is_empty());
    if services.is_empty() && stack.is_none() {
        return Err(bad_request("name services with ?service=NAME,NAME or a stack with ?stack=NAME"));
    }
    if services.len() > MAX_SERVICES {
        return Err(bad_request(format!("at most {MAX_SERVICES} services at once; these are {}", services.len())));
    }
    Ok(Json(caller.api().services.drafts(&DraftQuery { services, stack, app: params.app }).await?))
}
