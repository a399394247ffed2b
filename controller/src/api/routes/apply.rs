//! Apply: one object or a list, checked whole, then written in one transaction.

use aide::axum::ApiRouter;
use aide::axum::routing::post_with;
use api_types::Manifest;
use api_types::api::{ApplyResponse, Role};
use axum::Json;

use super::ApplyParams;
use crate::api::admission::{Admitted, ApplyBody, admit_apply, permit};
use crate::api::adoption::adoptable;
use crate::api::auth::{Caller, OrgCtx, Writes, no_such_org};
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::{ApiError, ApiResult};
use crate::api::examples;
use crate::api::extract::{Params, RawBody};
use crate::api::state::SharedCore;

pub(super) fn routes() -> ApiRouter<SharedCore> {
    ApiRouter::new()
        .api_route(
            "/v1/orgs/{org}/apply",
            post_with(apply_in_org, |op| {
                describe(
                    op,
                    Tag::Apply,
                    "applyInOrg",
                    "Apply objects of an organization",
                    "Body: one object, or `{\"items\": [objects]}`. All are checked first and every error of every object is reported at \
                     once, with its path. Then all are written in one transaction, or none. Equal objects are `unchanged`. Objects without \
                     `metadata.org` get the path's. The organization itself and, for platform tokens, settings may be among them.",
                )
                .request_example(examples::apply_request())
                .answer_example(200, examples::apply_response())
            }),
        )
        .api_route(
            "/v1/apply",
            post_with(apply_anywhere, |op| {
                describe(
                    op,
                    Tag::Apply,
                    "apply",
                    "Apply objects of any organization",
                    "As for one organization, but apps and domains name theirs in `metadata.org`. For a token that is limited to an organization, \
                     it is the same as applying there.",
                )
                .request_example(examples::apply_everywhere_request())
                .answer_example(200, examples::apply_response())
            }),
        )
}

async fn apply_in_org(
    ctx: OrgCtx<Writes>,
    Params(params): Params<ApplyParams>,
    RawBody(body, _): RawBody<ApplyBody>,
) -> ApiResult<Json<ApplyResponse>> {
    let admitted = admit_apply(&body, Some(&ctx.org))?;
    permit(&admitted.manifests, &ctx.caller)?;
    // The list may bring the organization along, so it need not exist before.
    let brings_org = admitted.manifests.iter().any(|item| matches!(item, Manifest::Organization(o) if o.metadata.name == ctx.org.as_str()));
    if ctx.caller.is_platform() && !brings_org && ctx.backend().org_get(&ctx.org).await?.is_none() {
        return Err(no_such_org(ctx.org.as_str()));
    }
    write(&ctx.caller, admitted, &params).await
}

async fn apply_anywhere(
    caller: Caller,
    Params(params): Params<ApplyParams>,
    RawBody(body, _): RawBody<ApplyBody>,
) -> ApiResult<Json<ApplyResponse>> {
    caller.require(Role::Member)?;
    let admitted = admit_apply(&body, caller.org()?.as_ref())?;
    permit(&admitted.manifests, &caller)?;
    write(&caller, admitted, &params).await
}

async fn write(caller: &Caller, admitted: Admitted, params: &ApplyParams) -> ApiResult<Json<ApplyResponse>> {
    let dry_run = params.dry_run;
    let mut cx = caller.writes(if params.adopt { "adopt" } else { "apply" }, dry_run);
    if params.adopt {
        let found = adoptable(caller, &admitted.manifests, admitted.list).await?;
        cx.adoptions = found.into_iter().map(|service| service.grant).collect();
    }
    let written = caller.backend().apply(&admitted.manifests, &cx).await;
    let results = written.map_err(|failure| ApiError::from_write(failure, admitted.list))?;
    Ok(Json(ApplyResponse { results, dry_run }))
}
