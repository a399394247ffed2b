//! Scale: replicas by process type, as a sub-resource.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use api_types::api::ScaleRequest;
use api_types::{AppName, FieldError};

use super::{Object, ObjectResult, WriteParams};
use crate::api::auth::{Reads, TenantCtx, Writes};
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::ApiError;
use crate::api::examples;
use crate::api::extract::{IfMatch, Name, Params, TypedBody, bad_request, version};
use crate::api::state::SharedCore;
use crate::store::AppRecord;

pub(super) fn routes() -> ApiRouter<SharedCore> {
    let route = get_with(get, |op| {
        describe(op, Tag::Apps, "getScale", "Get an app's scale", "Wanted replicas of every process type.")
            .answer_example(200, examples::scale())
    })
    .put_with(put, |op| {
        describe(
            op,
            Tag::Apps,
            "putScale",
            "Scale an app",
            "Changes the replicas of the process types that are named; the others keep theirs. 0 is allowed. Makes a new revision.",
        )
        .request_example(examples::scale())
        .answer_example(200, examples::scale())
    });
    ApiRouter::new().api_route("/v1/orgs/{org}/apps/{name}/scale", route)
}

fn scale_of(record: &AppRecord) -> Object<ScaleRequest> {
    let version = Some(record.resource_version.to_string());
    let processes = record.spec.processes.iter().map(|(name, process)| (name.clone(), process.replicas)).collect();
    Object::ok(version.clone(), ScaleRequest { processes, resource_version: version })
}

/// The app's process types, for messages.
pub(super) fn known_processes(record: &AppRecord) -> String {
    let names: Vec<_> = record.spec.processes.keys().map(|name| name.as_str()).collect();
    names.join(", ")
}

async fn get(ctx: TenantCtx<Reads>, Name(name): Name<AppName>) -> ObjectResult<ScaleRequest> {
    Ok(scale_of(&ctx.app(&name).await?))
}

async fn put(
    ctx: TenantCtx<Writes>,
    Name(name): Name<AppName>,
    Params(params): Params<WriteParams>,
    IfMatch(if_match): IfMatch,
    TypedBody(mut request): TypedBody<ScaleRequest>,
) -> ObjectResult<ScaleRequest> {
    match (request.resource_version.as_deref().map(version).transpose()?, if_match) {
        (Some(body), Some(header)) if body != header => return Err(bad_request("If-Match and resourceVersion differ")),
        (None, Some(header)) => request.resource_version = Some(header.to_string()),
        _ => {}
    }
    if request.processes.is_empty() {
        return Err(ApiError::invalid(vec![FieldError::new("processes", "at least one process type is needed")]));
    }
    let scaled = ctx.backend().app_scale(&ctx.org, &name, &request, &ctx.caller.writes("scale", params.dry_run)).await?;
    Ok(scale_of(&scaled.ok_or_else(|| ctx.no_such_app(&name))?))
}
