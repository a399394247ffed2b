//! Domains: host names that go to apps. A host that another organization holds is 404 here.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use api_types::api::ApplyAction;
use api_types::selector::Selectable;
use api_types::{Domain, Host, Kind, Manifest};
use axum::Json;
use axum::http::StatusCode;
use axum::response::NoContent;

use super::{Object, ObjectResult, WriteParams};
use crate::api::admission::admit_put;
use crate::api::auth::{Reads, TenantCtx, Writes};
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::{ApiError, ApiResult};
use crate::api::examples;
use crate::api::extract::{IfMatch, Name, Params, RawBody};
use crate::api::listing::{WatchParams, page};
use crate::api::state::SharedCore;
use crate::api::watch::{Listed, Resume};
use crate::store::Watched;

pub(super) fn routes() -> ApiRouter<SharedCore> {
    let one = get_with(get, |op| {
        describe(op, Tag::Domains, "getDomain", "Get a domain", "The app that the host goes to.").answer_example(200, examples::domain())
    })
    .put_with(put, |op| {
        describe(
            op,
            Tag::Domains,
            "putDomain",
            "Apply a domain",
            "Sends a host to an app of this organization. A host belongs to one app over all organizations; one that is taken is refused \
             with 409.",
        )
        .response::<201, Json<Domain>>()
        .request_example(examples::domain_manifest())
        .answer_example(200, examples::domain())
        .answer_example(201, examples::domain())
    })
    .delete_with(delete, |op| {
        describe(
            op,
            Tag::Domains,
            "deleteDomain",
            "Delete a domain",
            "One that is written in an app's manifest is refused with 409: edit the app instead.",
        )
    });
    ApiRouter::new()
        .api_route(
            "/v1/orgs/{org}/domains",
            get_with(list, |op| {
                describe(
                    op,
                    Tag::Domains,
                    "listDomains",
                    "List domains",
                    "Domains by host, those of apps' manifests too (`metadata.owner`).",
                )
                .answer_example(200, examples::list(examples::domain()))
            }),
        )
        .api_route("/v1/orgs/{org}/domains/{host}", one)
}

fn no_such_domain<A>(ctx: &TenantCtx<A>, host: &Host) -> ApiError {
    ApiError::not_found(format!("there is no domain \"{host}\" in the organization \"{}\"", ctx.org))
}

/// The domain, if it is this organization's.
async fn find<A>(ctx: &TenantCtx<A>, host: &Host) -> ApiResult<Domain> {
    let found = ctx.backend().domain_get(host).await?;
    found.filter(|domain| domain.metadata.org.as_ref() == Some(&ctx.org)).ok_or_else(|| no_such_domain(ctx, host))
}

async fn list(ctx: TenantCtx<Reads>, Params(params): Params<WatchParams>, resume: Resume) -> ApiResult<Listed<Domain>> {
    let query = params.query(Selectable::DOMAIN)?;
    if params.watch {
        return super::watch(&ctx.caller, (Watched::Domains, Some(ctx.org)), query, (params, resume)).await;
    }
    let version = super::list_version(&ctx.caller, params.is_first_page()).await?;
    let items = ctx.backend().domain_page(&ctx.org, &query).await?;
    Ok(Listed::Whole(page(items, &query, |domain| domain.metadata.name.clone()).at(version)))
}

async fn get(ctx: TenantCtx<Reads>, Name(host): Name<Host>) -> ObjectResult<Domain> {
    let found = find(&ctx, &host).await?;
    Ok(Object::ok(found.metadata.resource_version.clone(), found))
}

async fn put(
    ctx: TenantCtx<Writes>,
    Name(host): Name<Host>,
    Params(params): Params<WriteParams>,
    IfMatch(if_match): IfMatch,
    RawBody(body, _): RawBody<Domain>,
) -> ObjectResult<Domain> {
    let mut manifest = admit_put(&body, Kind::Domain, host.as_str(), Some(&ctx.org))?;
    super::apps::condition(&mut manifest, if_match)?;
    let results = ctx.backend().apply(std::slice::from_ref(&manifest), &ctx.caller.writes("apply", params.dry_run)).await?;
    let created = results.first().is_some_and(|result| result.action == ApplyAction::Created);
    if params.dry_run
        && let Manifest::Domain(domain) = manifest
    {
        return Ok(Object::ok(None, domain));
    }
    let found = find(&ctx, &host).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(Object::with(status, found.metadata.resource_version.clone(), found))
}

async fn delete(
    ctx: TenantCtx<Writes>,
    Name(host): Name<Host>,
    Params(params): Params<WriteParams>,
    IfMatch(if_match): IfMatch,
) -> ApiResult<NoContent> {
    find(&ctx, &host).await?;
    let deleted = ctx.backend().domain_delete(&ctx.org, &host, if_match, &ctx.caller.writes("delete", params.dry_run)).await?;
    if deleted { Ok(NoContent) } else { Err(no_such_domain(&ctx, &host)) }
}
