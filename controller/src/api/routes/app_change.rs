//! Changes that start from the stored app: a merge patch, and a restart.

use aide::axum::ApiRouter;
use aide::axum::routing::post_with;
use aide::transform::TransformOperation;
use api_types::api::RestartRequest;
use api_types::check::ROOT;
use api_types::{App, AppName, FieldError, Kind, Manifest};
use axum::http::StatusCode;
use serde_json::Value;

use super::apps::{condition, object};
use super::{ChangeParams, ObjectResult, WriteParams};
use crate::api::admission::admit_put;
use crate::api::auth::{TenantCtx, Writes};
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::ApiError;
use crate::api::extract::{IfMatch, Name, OptionalBody, Params, RawBody};
use crate::api::merge_patch::merge;
use crate::api::state::SharedCore;
use crate::api::{examples, view};
use crate::store::AppRecord;

pub(super) fn routes() -> ApiRouter<SharedCore> {
    ApiRouter::new().api_route(
        "/v1/orgs/{org}/apps/{name}/restart",
        post_with(restart, |op| {
            describe(
                op,
                Tag::Apps,
                "restartApp",
                "Restart an app",
                "Replaces the tasks of the processes that are named, or of all, by new ones made from the same spec and image: a new \
                 revision, rolled out like any other. The spec does not change, so applying a manifest again neither undoes nor repeats it.",
            )
            .request_example(examples::restart())
            .answer_example(200, examples::app())
        }),
    )
}

pub(super) fn describe_patch(op: TransformOperation<'_>) -> TransformOperation<'_> {
    describe(
        op,
        Tag::Apps,
        "patchApp",
        "Change parts of an app",
        "A JSON merge patch (RFC 7396) on the stored app: what is not named stays, `null` removes. It is worked out and checked as a whole \
         in one transaction, so changes of different fields at the same time do not lose each other. Also taken as \
         `application/merge-patch+json`.",
    )
    .request_example(examples::app_patch())
    .answer_example(200, examples::app())
}

pub(super) async fn patch(
    ctx: TenantCtx<Writes>,
    Name(name): Name<AppName>,
    Params(params): Params<ChangeParams>,
    IfMatch(if_match): IfMatch,
    RawBody(body, _): RawBody<App>,
) -> ObjectResult<App> {
    if !body.is_object() {
        return Err(ApiError::invalid(vec![FieldError::new(ROOT, "a merge patch of an app is an object")]));
    }
    let change = |record: &AppRecord| -> Result<Manifest, Vec<FieldError>> {
        let mut wanted = stored(record).map_err(|error| vec![error])?;
        merge(&mut wanted, body.clone());
        let mut manifest = admit_put(&wanted, Kind::App, name.as_str(), Some(&ctx.org)).map_err(errors_of)?;
        condition(&mut manifest, if_match).map_err(errors_of)?;
        Ok(manifest)
    };
    let cx = ctx.caller.writes(params.source("patch")?, params.dry_run);
    let written = ctx.backend().app_change(&ctx.org, &name, &change, &cx).await?;
    Ok(object(StatusCode::OK, view::app(written.ok_or_else(|| ctx.no_such_app(&name))?)))
}

/// The stored app as its own manifest: a secret of `null` keeps its value.
fn stored(record: &AppRecord) -> Result<Value, FieldError> {
    let mut app = view::app(record.clone());
    app.status = None;
    // Not of what was read just now, but of what the patch may ask for.
    app.metadata.resource_version = None;
    serde_json::to_value(app).map_err(|error| FieldError::new(ROOT, error.to_string()))
}

fn errors_of(error: ApiError) -> Vec<FieldError> {
    let problem = error.problem();
    if problem.errors.is_empty() { vec![FieldError::new(ROOT, problem.detail.clone())] } else { problem.errors.clone() }
}

async fn restart(
    ctx: TenantCtx<Writes>,
    Name(name): Name<AppName>,
    Params(params): Params<WriteParams>,
    IfMatch(if_match): IfMatch,
    OptionalBody(body, _): OptionalBody<RestartRequest>,
) -> ObjectResult<App> {
    let request: RestartRequest = match body {
        None => RestartRequest::default(),
        Some(body) => serde_path_to_error::deserialize(body)
            .map_err(|error| ApiError::invalid(vec![FieldError::new(error.path().to_string(), error.into_inner().to_string())]))?,
    };
    let cx = ctx.caller.writes("restart", params.dry_run);
    let written = ctx.backend().app_restart(&ctx.org, &name, (&request.processes, if_match), &cx).await?;
    Ok(object(StatusCode::OK, view::app(written.ok_or_else(|| ctx.no_such_app(&name))?)))
}
