//! Going back to an older revision, and trying a failed one again.

use std::collections::BTreeSet;

use aide::axum::ApiRouter;
use aide::axum::routing::post_with;
use api_types::AppName;
use api_types::api::{ApplyAction, RetryRequest, RollbackRequest, RollbackResponse};
use api_types::diff::diff;
use axum::Json;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::app_plan::{Asked, steps};
use super::{Object, ObjectResult, WriteParams};
use crate::api::auth::{TenantCtx, Writes};
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::{ApiError, ApiResult};
use crate::api::extract::{IfMatch, Name, OptionalBody, Params, bad_request, version};
use crate::api::state::SharedCore;
use crate::api::{examples, view};
use crate::store::{Restored, Revision};

pub(super) fn routes() -> ApiRouter<SharedCore> {
    ApiRouter::new()
        .api_route(
            "/v1/orgs/{org}/apps/{name}/rollback",
            post_with(rollback, |op| {
                describe(
                    op,
                    Tag::Apps,
                    "rollbackApp",
                    "Roll an app back",
                    "Makes a new revision with the content of an older one: the very same image, variables, secret values, domains, scale and \
                     processes, all or nothing. Without `to` it is the last revision before the newest that was proven to serve. Refused with \
                     409 when a host is in use by another app meanwhile, a secret's value is no longer stored, or that revision was never \
                     proven and `force` is not set. `dryRun` shows what would change and the steps.",
                )
                .response::<200, Json<RollbackResponse>>()
                .request_example(examples::rollback())
                .answer_example(200, examples::rolled_back())
            }),
        )
        .api_route(
            "/v1/orgs/{org}/apps/{name}/retry",
            post_with(retry, |op| {
                describe(
                    op,
                    Tag::Apps,
                    "retryApp",
                    "Try a failed revision again",
                    "A failed revision is attempted once. This makes a new revision with the same content, and with it one more attempt. An \
                     image that could not be found is looked up again. Refused with 409 when the newest revision has not failed.",
                )
                .request_example(examples::retry())
                .answer_example(200, examples::rolled_back())
            }),
        )
}

async fn rollback(
    ctx: TenantCtx<Writes>,
    Name(name): Name<AppName>,
    Params(params): Params<WriteParams>,
    IfMatch(if_match): IfMatch,
    OptionalBody(body, _): OptionalBody<RollbackRequest>,
) -> ObjectResult<RollbackResponse> {
    let mut request: RollbackRequest = read(body)?;
    if request.to.is_some_and(|number| number < 1) {
        return Err(bad_request("to is the number of a revision, from 1"));
    }
    request.resource_version = condition(request.resource_version.as_deref(), if_match)?.map(|version| version.to_string());
    let done = ctx.backend().app_rollback(&ctx.org, &name, &request, &ctx.caller.writes("rollback", params.dry_run)).await?;
    answer(&ctx, &name, done, params.dry_run).await
}

async fn retry(
    ctx: TenantCtx<Writes>,
    Name(name): Name<AppName>,
    Params(params): Params<WriteParams>,
    IfMatch(if_match): IfMatch,
    OptionalBody(body, _): OptionalBody<RetryRequest>,
) -> ObjectResult<RollbackResponse> {
    let request: RetryRequest = read(body)?;
    let expected = condition(request.resource_version.as_deref(), if_match)?;
    let done = ctx.backend().app_retry(&ctx.org, &name, expected, &ctx.caller.writes("retry", params.dry_run)).await?;
    answer(&ctx, &name, done, params.dry_run).await
}

fn read<T: DeserializeOwned + Default>(body: Option<Value>) -> ApiResult<T> {
    let Some(body) = body else { return Ok(T::default()) };
    serde_path_to_error::deserialize(body).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { api_types::check::ROOT.to_owned() } else { path };
        ApiError::invalid(vec![api_types::FieldError::new(path, error.into_inner().to_string())])
    })
}

/// The version that the app must have, from the body or the header.
fn condition(body: Option<&str>, header: Option<i64>) -> ApiResult<Option<i64>> {
    match (body.map(version).transpose()?, header) {
        (Some(body), Some(header)) if body != header => Err(bad_request("If-Match and resourceVersion differ")),
        (body, header) => Ok(body.or(header)),
    }
}

/// What was done, with the steps as they follow from what was last observed.
async fn answer(ctx: &TenantCtx<Writes>, name: &AppName, done: Option<Restored>, dry_run: bool) -> ObjectResult<RollbackResponse> {
    let done = done.ok_or_else(|| ctx.no_such_app(name))?;
    let changed = done.is_changed();
    let Restored { before, newest, target, after } = done;
    // What was restarted by hand stays restarted.
    let restored = Revision { restarts: newest.restarts.clone(), ..target };
    let changes = diff(&newest.content(), &restored.content());
    let steps = if changed {
        let wanted = view::without_secrets(restored.spec.clone());
        let asked = Asked {
            name,
            current: Some(before),
            wanted,
            changed_secrets: BTreeSet::new(),
            adoptions: Vec::new(),
            restored: Some(restored.clone()),
        };
        steps(ctx, asked).await?.0
    } else {
        Vec::new()
    };
    let body = RollbackResponse {
        name: name.to_string(),
        based_on: restored.generation,
        action: if changed { ApplyAction::Configured } else { ApplyAction::Unchanged },
        generation: after.generation,
        changes,
        steps,
        dry_run,
    };
    let version = (!dry_run).then(|| after.resource_version.to_string());
    Ok(Object::ok(version, body))
}
