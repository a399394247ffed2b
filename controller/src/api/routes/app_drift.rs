//! The drift ledger: what was changed behind the platform's back.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use api_types::AppName;
use api_types::api::List;
use api_types::drift::DriftRecord;
use axum::Json;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::auth::{Reads, TenantCtx};
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::ApiResult;
use crate::api::examples;
use crate::api::extract::{Name, Params, bad_request};
use crate::api::listing::{after, continue_after, limit};
use crate::api::state::SharedCore;

/// Rows when the request does not say how many.
const DEFAULT_LIMIT: i64 = 100;

pub(super) fn routes() -> ApiRouter<SharedCore> {
    ApiRouter::new()
        .api_route(
            "/v1/orgs/{org}/drift",
            get_with(org_drift, |op| {
                describe(
                    op,
                    Tag::Organizations,
                    "listOrgDrift",
                    "List an organization's drift",
                    "What was changed of its apps behind the platform's back, on the engine or the edge, newest first, with what was done.",
                )
                .answer_example(200, examples::list(examples::drift()))
            }),
        )
        .api_route(
            "/v1/orgs/{org}/apps/{name}/drift",
            get_with(app_drift, |op| {
                describe(
                    op,
                    Tag::Apps,
                    "listAppDrift",
                    "List an app's drift",
                    "What was changed of the app behind the platform's back, newest first. A change that lasts is one entry. Values of \
                     variables are never told.",
                )
                .answer_example(200, examples::list(examples::drift()))
            }),
        )
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DriftParams {
    /// Only what lasts, and what was seen since this time: RFC 3339, or how long ago, such as `1h`.
    since: Option<String>,
    /// Most entries, 1 to 1000; 100 when absent. When there are older ones, `metadata.continue` is set.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<i64>,
    /// The `metadata.continue` of the page before; goes on with older ones.
    #[serde(rename = "continue")]
    continue_token: Option<String>,
}

async fn page(ctx: &TenantCtx<Reads>, app: Option<&AppName>, params: DriftParams) -> ApiResult<Json<List<DriftRecord>>> {
    let wrong = || bad_request("continue must be what metadata.continue of the page before said");
    let before = after(params.continue_token.as_deref())?.map(|text| text.parse::<i64>().map_err(|_| wrong())).transpose()?;
    let limit = limit(params.limit)?.unwrap_or(DEFAULT_LIMIT);
    let since = params.since.as_deref().map(|text| super::since(text, ctx.caller.api().clock.now())).transpose()?;
    let mut items = ctx.backend().drift_list(&ctx.org, app, (since, before), limit + 1).await?;
    let fits = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > fits;
    items.truncate(fits);
    let mut list = List::from(items);
    if more {
        list.metadata.continue_token = list.items.last().map(|oldest| continue_after(&oldest.id.to_string()));
    }
    Ok(Json(list))
}

async fn org_drift(ctx: TenantCtx<Reads>, Params(params): Params<DriftParams>) -> ApiResult<Json<List<DriftRecord>>> {
    page(&ctx, None, params).await
}

async fn app_drift(
    ctx: TenantCtx<Reads>,
    Name(name): Name<AppName>,
    Params(params): Params<DriftParams>,
) -> ApiResult<Json<List<DriftRecord>>> {
    ctx.app(&name).await?;
    page(&ctx, Some(&name), params).await
}
