//! Apps: list, get, apply, delete.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use api_types::api::ApplyAction;
use api_types::selector::Selectable;
use api_types::{App, AppName, Kind, Manifest};
use axum::Json;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{ChangeParams, Object, ObjectResult, app_change};
use crate::api::admission::admit_put;
use crate::api::auth::{Reads, TenantCtx, Writes};
use crate::api::docs::{Examples, Tag, answers, describe};
use crate::api::error::ApiResult;
use crate::api::extract::{IfMatch, Name, Params, RawBody, bad_request, version};
use crate::api::listing::{WatchParams, page};
use crate::api::state::SharedCore;
use crate::api::watch::{Listed, Resume};
use crate::api::{examples, view};
use crate::store::{MUST_EXIST, Watched};

pub(super) fn routes() -> ApiRouter<SharedCore> {
    let one = get_with(get, |op| {
        describe(op, Tag::Apps, "getApp", "Get an app", "Spec and status. Secret values are `null`.").answer_example(200, examples::app())
    })
    .put_with(put, |op| {
        describe(
            op,
            Tag::Apps,
            "putApp",
            "Apply an app",
            "Creates or changes the app. `apiVersion`, `kind` and `metadata.name` may be left out. A secret of `null` keeps its stored value.",
        )
        .response::<201, Json<App>>()
        .request_example(examples::app_manifest())
        .answer_example(200, examples::app())
        .answer_example(201, examples::app())
    })
    .patch_with(app_change::patch, app_change::describe_patch)
    .delete_with(delete, |op| {
        describe(
            answers(op, 202),
            Tag::Apps,
            "deleteApp",
            "Delete an app",
            "Marks the app for deletion and answers at once; the app is gone when reading it answers 404. `resourceVersion` or `If-Match` \
             makes it conditional.",
        )
        .answer_example(202, examples::app_deleting())
    });
    ApiRouter::new()
        .api_route(
            "/v1/orgs/{org}/apps",
            get_with(list, |op| {
                describe(op, Tag::Apps, "listApps", "List apps", "Apps by name, with spec and status; whole, in pages of `limit`, or with `watch` as a stream that goes on with changes.")
                    .answer_example(200, examples::list(examples::app()))
            }),
        )
        .api_route("/v1/orgs/{org}/apps/{name}", one)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeleteParams {
    /// Refuse with 409 when the app has another one.
    resource_version: Option<String>,
}

async fn list(ctx: TenantCtx<Reads>, Params(params): Params<WatchParams>, resume: Resume) -> ApiResult<Listed<App>> {
    let query = params.query(Selectable::APP)?;
    if params.watch {
        return super::watch(&ctx.caller, (Watched::Apps, Some(ctx.org)), query, (params, resume)).await;
    }
    let version = super::list_version(&ctx.caller, params.is_first_page()).await?;
    let records = ctx.backend().app_page(&ctx.org, &query).await?;
    let items: Vec<App> = records.into_iter().map(view::app).collect();
    Ok(Listed::Whole(page(items, &query, |app| app.metadata.name.clone()).at(version)))
}

pub(super) fn object(status: StatusCode, app: App) -> Object<App> {
    Object::with(status, app.metadata.resource_version.clone(), app)
}

async fn get(ctx: TenantCtx<Reads>, Name(name): Name<AppName>) -> ObjectResult<App> {
    let record = ctx.app(&name).await?;
    Ok(object(StatusCode::OK, view::app(record)))
}

/// Puts the version of `If-Match` into the manifest.
pub(super) fn condition(manifest: &mut Manifest, if_match: Option<i64>) -> ApiResult<()> {
    let metadata = manifest.metadata_mut();
    let written = metadata.resource_version.as_deref().map(version).transpose()?;
    match (written, if_match) {
        // In both, `If-Match: *` is the weaker condition.
        (Some(_), Some(MUST_EXIST)) => Ok(()),
        (Some(body), Some(header)) if body != header => Err(bad_request("If-Match and metadata.resourceVersion differ")),
        (None, Some(header)) => {
            metadata.resource_version = Some(header.to_string());
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn put(
    ctx: TenantCtx<Writes>,
    Name(name): Name<AppName>,
    Params(params): Params<ChangeParams>,
    IfMatch(if_match): IfMatch,
    RawBody(body, _): RawBody<App>,
) -> ObjectResult<App> {
    let mut manifest = admit_put(&body, Kind::App, name.as_str(), Some(&ctx.org))?;
    condition(&mut manifest, if_match)?;
    let results = ctx.backend().apply(std::slice::from_ref(&manifest), &ctx.caller.writes(params.source("apply")?, params.dry_run)).await?;
    let created = results.first().is_some_and(|result| result.action == ApplyAction::Created);
    if params.dry_run
        && let Manifest::App(app) = manifest
    {
        let spec = view::without_secrets(app.spec.clone());
        return Ok(Object::ok(None, App { spec, status: None, ..*app }));
    }
    let record = ctx.app(&name).await?;
    Ok(object(if created { StatusCode::CREATED } else { StatusCode::OK }, view::app(record)))
}

async fn delete(
    ctx: TenantCtx<Writes>,
    Name(name): Name<AppName>,
    Params(params): Params<DeleteParams>,
    IfMatch(if_match): IfMatch,
) -> ObjectResult<App> {
    let asked = params.resource_version.as_deref().map(version).transpose()?;
    let condition = match (asked, if_match) {
        (Some(query), Some(header)) if query != header => return Err(bad_request("If-Match and resourceVersion differ")),
        (query, header) => query.or(header),
    };
    let deleted = ctx.backend().app_delete(&ctx.org, &name, condition, &ctx.caller.writes("delete", false)).await?;
    let record = deleted.ok_or_else(|| ctx.no_such_app(&name))?;
    Ok(object(StatusCode::ACCEPTED, view::app(record)))
}
