//! Apps: list, get, apply, delete.

use std::collections::BTreeMap;

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use api_types::api::{ApplyAction, List};
use api_types::name::{LabelKey, LabelValue};
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
use crate::api::extract::{IfMatch, Name, Params, RawBody, bad_request, excerpt, version};
use crate::api::state::SharedCore;
use crate::api::{examples, view};

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
                describe(op, Tag::Apps, "listApps", "List apps", "Apps by name, with spec and status.")
                    .answer_example(200, examples::list(examples::app()))
            }),
        )
        .api_route("/v1/orgs/{org}/apps/{name}", one)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListParams {
    /// Only objects with all of these labels: `key=value`, or `key` alone for any value, joined by commas.
    label_selector: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeleteParams {
    /// Refuse with 409 when the app has another one.
    resource_version: Option<String>,
}

/// One term of a selector: a key, and a value or any.
type Term<'a> = (&'a str, Option<&'a str>);

fn selector(text: &str) -> ApiResult<Vec<Term<'_>>> {
    let term = |part: &'_ str| -> Option<(usize, bool)> {
        let at = part.find('=').unwrap_or(part.len());
        let key_ok = part.get(..at).is_some_and(|key| key.parse::<LabelKey>().is_ok());
        key_ok.then_some((at, at < part.len()))
    };
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (at, has_value) = term(part).ok_or_else(|| {
                bad_request(format!("labelSelector is \"key=value\" or \"key\", joined by commas; \"{}\" is neither", excerpt(part)))
            })?;
            let (key, rest) = part.split_at(at);
            Ok((key, has_value.then(|| rest.trim_start_matches('='))))
        })
        .collect()
}

fn selects(terms: &[Term<'_>], labels: &BTreeMap<LabelKey, LabelValue>) -> bool {
    let has = |(key, value): &Term<'_>| {
        labels.iter().any(|(label, found)| label.as_str() == *key && value.is_none_or(|value| value == found.as_str()))
    };
    terms.iter().all(has)
}

async fn list(ctx: TenantCtx<Reads>, Params(params): Params<ListParams>) -> ApiResult<Json<List<App>>> {
    let text = params.label_selector.unwrap_or_default();
    let terms = selector(&text)?;
    let records = ctx.backend().app_list(Some(&ctx.org)).await?;
    let items: Vec<App> = records.into_iter().filter(|record| selects(&terms, &record.labels)).map(view::app).collect();
    Ok(Json(List::from(items)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_needs_every_term() {
        let labels: BTreeMap<LabelKey, LabelValue> =
            serde_json::from_value(serde_json::json!({"team": "core", "tier": "web"})).expect("labels");
        let matches = |text: &str| selector(text).map(|terms| selects(&terms, &labels));
        for (text, wanted) in [
            ("", true),
            ("team=core", true),
            ("team==core", true),
            ("team", true),
            ("team=core, tier=web", true),
            ("team=x", false),
            ("c", false),
        ] {
            assert_eq!(matches(text).ok(), Some(wanted), "{text}");
        }
        for bad in ["=x", "a b", "team!=core", "skyswarm.dev/org=x"] {
            assert!(matches(bad).is_err(), "{bad}");
        }
    }
}
