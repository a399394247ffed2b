//! What happened: events of an app or an organization.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use api_types::AppName;
use api_types::api::List;
use api_types::event::Event;
use axum::Json;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::auth::{Reads, TenantCtx};
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::ApiResult;
use crate::api::examples;
use crate::api::extract::{Name, Params, bad_request};
use crate::api::state::SharedCore;

/// Entries when the request does not say how many.
const DEFAULT_LIMIT: i64 = 100;
/// Most entries of one answer.
const MAX_LIMIT: i64 = 1000;

pub(super) fn routes() -> ApiRouter<SharedCore> {
    ApiRouter::new()
        .api_route(
            "/v1/orgs/{org}/events",
            get_with(org_events, |op| {
                describe(
                    op,
                    Tag::Organizations,
                    "listOrgEvents",
                    "List an organization's events",
                    "The last events of all its objects, newest last.",
                )
                .answer_example(200, examples::list(examples::event()))
            }),
        )
        .api_route(
            "/v1/orgs/{org}/apps/{name}/events",
            get_with(app_events, |op| {
                describe(op, Tag::Apps, "listAppEvents", "List an app's events", "What the controller did and saw, newest last.")
                    .answer_example(200, examples::list(examples::event()))
            }),
        )
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LimitParams {
    /// Most entries, 1 to 1000; 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<i64>,
}

impl LimitParams {
    fn get(&self) -> ApiResult<i64> {
        limit(self.limit)
    }
}

/// How many entries are asked for.
pub(super) fn limit(asked: Option<i64>) -> ApiResult<i64> {
    let limit = asked.unwrap_or(DEFAULT_LIMIT);
    if (1..=MAX_LIMIT).contains(&limit) { Ok(limit) } else { Err(bad_request(format!("limit must be from 1 to {MAX_LIMIT}"))) }
}

async fn org_events(ctx: TenantCtx<Reads>, Params(params): Params<LimitParams>) -> ApiResult<Json<List<Event>>> {
    let items = ctx.backend().event_list(Some(&ctx.org), None, params.get()?).await?;
    Ok(Json(items.into()))
}

async fn app_events(ctx: TenantCtx<Reads>, Name(name): Name<AppName>, Params(params): Params<LimitParams>) -> ApiResult<Json<List<Event>>> {
    let limit = params.get()?;
    let items = ctx.backend().event_list(Some(&ctx.org), Some(("App", name.as_str())), limit).await?;
    // The events of a deleted app can still be read; only a name that never was is unknown.
    if items.is_empty() {
        ctx.app(&name).await?;
    }
    Ok(Json(items.into()))
}
