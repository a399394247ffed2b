//! Organizations. A limited token sees and edits its own; creating and deleting needs a platform token.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use api_types::api::{ApplyAction, List};
use api_types::selector::Selectable;
use api_types::{Kind, Organization};
use axum::Json;
use axum::http::StatusCode;
use axum::response::NoContent;

use super::{Object, ObjectResult, WriteParams};
use crate::api::admission::admit_put;
use crate::api::auth::{Administers, Caller, OrgCtx, Reads, TenantCtx, no_such_org};
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::ApiResult;
use crate::api::examples;
use crate::api::extract::{IfMatch, Params, RawBody};
use crate::api::listing::{ListParams, page_of_all};
use crate::api::state::SharedCore;

pub(super) fn routes() -> ApiRouter<SharedCore> {
    let one = get_with(get, |op| {
        describe(op, Tag::Organizations, "getOrg", "Get an organization", "The organization with the number of its apps.")
            .answer_example(200, examples::organization())
    })
    .put_with(put, |op| {
        describe(
            op,
            Tag::Organizations,
            "putOrg",
            "Apply an organization",
            "Creates or changes it. Creating needs a platform token with the role admin; changing, the role admin.",
        )
        .response::<201, Json<Organization>>()
        .request_example(examples::organization_manifest())
        .answer_example(200, examples::organization())
        .answer_example(201, examples::organization())
    })
    .delete_with(delete, |op| {
        describe(
            op,
            Tag::Organizations,
            "deleteOrg",
            "Delete an organization",
            "Refused with 409 while it has apps. Needs a platform token with the role admin.",
        )
    });
    ApiRouter::new()
        .api_route(
            "/v1/orgs",
            get_with(list, |op| {
                describe(op, Tag::Organizations, "listOrgs", "List organizations", "All of them; a limited token sees its own.")
                    .answer_example(200, examples::list(examples::organization()))
            }),
        )
        .api_route("/v1/orgs/{org}", one)
}

async fn list(caller: Caller, Params(params): Params<ListParams>) -> ApiResult<Json<List<Organization>>> {
    let query = params.query(Selectable::OTHER)?;
    let items: Vec<Organization> = match caller.org()? {
        None => caller.backend().org_list().await?,
        Some(own) => caller.backend().org_get(&own).await?.into_iter().collect(),
    };
    Ok(Json(page_of_all(items, &query, |org| org.metadata.name.clone())))
}

async fn get(ctx: TenantCtx<Reads>) -> ObjectResult<Organization> {
    let found = ctx.backend().org_get(&ctx.org).await?;
    let found = found.ok_or_else(|| no_such_org(ctx.org.as_str()))?;
    Ok(Object::ok(found.metadata.resource_version.clone(), found))
}

async fn put(
    ctx: OrgCtx<Administers>,
    Params(params): Params<WriteParams>,
    IfMatch(version): IfMatch,
    RawBody(body, _): RawBody<Organization>,
) -> ObjectResult<Organization> {
    let mut manifest = admit_put(&body, Kind::Organization, ctx.org.as_str(), None)?;
    super::apps::condition(&mut manifest, version)?;
    let results = ctx.backend().apply(std::slice::from_ref(&manifest), &ctx.caller.writes("put", params.dry_run)).await?;
    let created = results.first().is_some_and(|result| result.action == ApplyAction::Created);
    if params.dry_run
        && let api_types::Manifest::Organization(organization) = manifest
    {
        return Ok(Object::ok(None, organization));
    }
    let found = ctx.backend().org_get(&ctx.org).await?.ok_or_else(|| no_such_org(ctx.org.as_str()))?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(Object::with(status, found.metadata.resource_version.clone(), found))
}

async fn delete(ctx: OrgCtx<Administers>, Params(params): Params<WriteParams>, IfMatch(if_match): IfMatch) -> ApiResult<NoContent> {
    ctx.caller.require_platform()?;
    let found = ctx.backend().org_delete(&ctx.org, if_match, &ctx.caller.writes("delete", params.dry_run)).await?;
    if found { Ok(NoContent) } else { Err(no_such_org(ctx.org.as_str())) }
}
