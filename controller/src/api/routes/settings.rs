//! Settings: typed knobs of the platform. For platform tokens; changing needs the role admin.

use std::borrow::Cow;

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use api_types::api::List;
use api_types::selector::Selectable;
use api_types::{Kind, Manifest, Setting, SettingKey, SettingSpec};
use axum::Json;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::{Object, ObjectResult, WriteParams};
use crate::api::admission::admit_put;
use crate::api::auth::{Administers, PlatformCtx, Reads};
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::{ApiError, ApiResult};
use crate::api::examples;
use crate::api::extract::{IfMatch, Name, Params, RawBody};
use crate::api::listing::{ListParams, page_of_all};
use crate::api::state::SharedCore;

pub(super) fn routes() -> ApiRouter<SharedCore> {
    let one = get_with(get, |op| {
        describe(op, Tag::Platform, "getSetting", "Get a setting", "Its value, type, default and description.")
            .answer_example(200, examples::setting())
    })
    .put_with(put, |op| {
        describe(
            op,
            Tag::Platform,
            "putSetting",
            "Change a setting",
            "The body is `{\"value\": …}` or the whole object. The value's type depends on the key.",
        )
        .request_example(examples::setting_spec())
        .answer_example(200, examples::setting())
    })
    .delete_with(reset, |op| {
        describe(op, Tag::Platform, "resetSetting", "Reset a setting", "Goes back to the default and answers with it.")
            .answer_example(200, examples::setting_default())
    });
    ApiRouter::new()
        .api_route(
            "/v1/settings",
            get_with(list, |op| {
                describe(op, Tag::Platform, "listSettings", "List settings", "All of them, also those that show their default.")
                    .answer_example(200, examples::list(examples::setting()))
            }),
        )
        .api_route("/v1/settings/{key}", one)
}

/// Documents the body of a change.
struct SettingBody;

impl JsonSchema for SettingBody {
    fn schema_name() -> Cow<'static, str> {
        "SettingBody".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let any_of = [generator.subschema_for::<SettingSpec>(), generator.subschema_for::<Setting>()];
        json_schema!({"description": "The value alone, or the whole object.", "anyOf": any_of})
    }
}

fn no_such_setting(key: &SettingKey) -> ApiError {
    ApiError::not_found(format!("there is no setting \"{key}\"; GET /v1/settings lists them all"))
}

async fn list(ctx: PlatformCtx<Reads>, Params(params): Params<ListParams>) -> ApiResult<Json<List<Setting>>> {
    let query = params.query(Selectable::OTHER)?;
    Ok(Json(page_of_all(ctx.backend().setting_list().await?, &query, |setting| setting.metadata.name.clone())))
}

async fn find<A>(ctx: &PlatformCtx<A>, key: &SettingKey) -> ApiResult<Setting> {
    ctx.backend().setting_get(key).await?.ok_or_else(|| no_such_setting(key))
}

fn object(setting: Setting) -> Object<Setting> {
    Object::ok(setting.metadata.resource_version.clone(), setting)
}

async fn get(ctx: PlatformCtx<Reads>, Name(key): Name<SettingKey>) -> ObjectResult<Setting> {
    find(&ctx, &key).await.map(object)
}

async fn put(
    ctx: PlatformCtx<Administers>,
    Name(key): Name<SettingKey>,
    Params(params): Params<WriteParams>,
    IfMatch(if_match): IfMatch,
    RawBody(body, _): RawBody<SettingBody>,
) -> ObjectResult<Setting> {
    find(&ctx, &key).await?;
    let whole = if is_spec(&body) { json!({"spec": body}) } else { body };
    let mut manifest = admit_put(&whole, Kind::Setting, key.as_str(), None)?;
    super::apps::condition(&mut manifest, if_match)?;
    ctx.backend().apply(std::slice::from_ref(&manifest), &ctx.caller.writes("settings", params.dry_run)).await?;
    if params.dry_run
        && let Manifest::Setting(setting) = manifest
    {
        return Ok(object(setting));
    }
    find(&ctx, &key).await.map(object)
}

/// Whether the body is the bare spec.
fn is_spec(body: &Value) -> bool {
    body.as_object().is_some_and(|object| !["spec", "kind", "metadata", "apiVersion"].iter().any(|key| object.contains_key(*key)))
}

async fn reset(ctx: PlatformCtx<Administers>, Name(key): Name<SettingKey>, IfMatch(if_match): IfMatch) -> ObjectResult<Setting> {
    find(&ctx, &key).await?;
    ctx.backend().setting_reset(&key, if_match, &ctx.caller.writes("settings", false)).await?;
    find(&ctx, &key).await.map(object)
}
