//! Certificates of the edge: for platform administrators. The key comes in and never goes out.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use api_types::api::{ApplyAction, List};
use api_types::selector::Selectable;
use api_types::{Certificate, CertificateName, Kind, Manifest};
use axum::Json;
use axum::http::StatusCode;
use axum::response::NoContent;

use super::{Object, ObjectResult, WriteParams};
use crate::api::admission::admit_put;
use crate::api::auth::{Administers, PlatformCtx};
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::{ApiError, ApiResult};
use crate::api::examples;
use crate::api::extract::{IfMatch, Name, Params, RawBody};
use crate::api::listing::{ListParams, page_of_all};
use crate::api::state::SharedCore;

pub(super) fn routes() -> ApiRouter<SharedCore> {
    let one = get_with(get, |op| {
        describe(op, Tag::Platform, "getCertificate", "Get a certificate", "Its chain, what is in it, and whether clients get it. Never its key.")
            .answer_example(200, examples::certificate())
    })
    .put_with(put, |op| {
        describe(
            op,
            Tag::Platform,
            "putCertificate",
            "Apply a certificate",
            "Creates or replaces it; the edge serves the new one within a second, and no connection is cut. `spec.privateKey` may be left out when the stored one fits the chain.",
        )
        .response::<201, Json<Certificate>>()
        .request_example(examples::certificate_manifest())
        .answer_example(200, examples::certificate())
        .answer_example(201, examples::certificate())
    })
    .delete_with(delete, |op| {
        describe(
            op,
            Tag::Platform,
            "deleteCertificate",
            "Delete a certificate",
            "Its key is deleted with it. Clients of its names get another certificate that fits, or a self-signed one.",
        )
    });
    ApiRouter::new()
        .api_route(
            "/v1/certificates",
            get_with(list, |op| {
                describe(op, Tag::Platform, "listCertificates", "List certificates", "All of them, by name. Never their keys.")
                    .answer_example(200, examples::list(examples::certificate()))
            }),
        )
        .api_route("/v1/certificates/{name}", one)
}

fn no_such_certificate(name: &CertificateName) -> ApiError {
    ApiError::not_found(format!("there is no certificate \"{name}\""))
}

async fn list(ctx: PlatformCtx<Administers>, Params(params): Params<ListParams>) -> ApiResult<Json<List<Certificate>>> {
    let query = params.query(Selectable::OTHER)?;
    Ok(Json(page_of_all(ctx.backend().certificate_list().await?, &query, |certificate| certificate.metadata.name.clone())))
}

async fn find(ctx: &PlatformCtx<Administers>, name: &CertificateName) -> ApiResult<Certificate> {
    ctx.backend().certificate_get(name).await?.ok_or_else(|| no_such_certificate(name))
}

async fn get(ctx: PlatformCtx<Administers>, Name(name): Name<CertificateName>) -> ObjectResult<Certificate> {
    let found = find(&ctx, &name).await?;
    Ok(Object::ok(found.metadata.resource_version.clone(), found))
}

async fn put(
    ctx: PlatformCtx<Administers>,
    Name(name): Name<CertificateName>,
    Params(params): Params<WriteParams>,
    IfMatch(version): IfMatch,
    RawBody(body, _): RawBody<Certificate>,
) -> ObjectResult<Certificate> {
    let mut manifest = admit_put(&body, Kind::Certificate, name.as_str(), None)?;
    super::apps::condition(&mut manifest, version)?;
    let results = ctx.backend().apply(std::slice::from_ref(&manifest), &ctx.caller.writes("put", params.dry_run)).await?;
    let created = results.first().is_some_and(|result| result.action == ApplyAction::Created);
    if params.dry_run
        && let Manifest::Certificate(mut certificate) = manifest
    {
        certificate.spec.private_key = None;
        return Ok(Object::ok(None, certificate));
    }
    let found = find(&ctx, &name).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(Object::with(status, found.metadata.resource_version.clone(), found))
}

async fn delete(
    ctx: PlatformCtx<Administers>,
    Name(name): Name<CertificateName>,
    Params(params): Params<WriteParams>,
    IfMatch(version): IfMatch,
) -> ApiResult<NoContent> {
    let found = ctx.backend().certificate_delete(&name, version, &ctx.caller.writes("delete", params.dry_run)).await?;
    if found { Ok(NoContent) } else { Err(no_such_certificate(&name)) }
}
