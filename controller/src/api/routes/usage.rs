//! Usage: what an organization's running tasks take of processor and memory now.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use api_types::AppName;
use api_types::problem::ProblemKind;
use api_types::usage::Usage;
use axum::Json;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::auth::{Reads, TenantCtx};
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::{ApiError, ApiResult};
use crate::api::examples;
use crate::api::extract::{Params, bad_request};
use crate::api::state::SharedCore;
use crate::store::ListQuery;

pub(super) fn routes() -> ApiRouter<SharedCore> {
    ApiRouter::new().api_route(
        "/v1/orgs/{org}/usage",
        get_with(usage, |op| {
            describe(
                op,
                Tag::Apps,
                "getUsage",
                "Show what tasks use",
                "Processor and memory of every running task, measured for this answer, which takes a second or two. Tasks on other nodes than \
                 the one whose engine is asked (`node`) are listed without figures.",
            )
            .answer_example(200, examples::usage())
        }),
    )
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UsageParams {
    /// Only this app.
    app: Option<String>,
}

async fn usage(ctx: TenantCtx<Reads>, Params(params): Params<UsageParams>) -> ApiResult<Json<Usage>> {
    let core = ctx.caller.core();
    // Measuring keeps the engine busy for a second, so it counts as a stream does.
    let busy = |_| ApiError::new(ProblemKind::TooManyRequests, "too many streams are open; try again later");
    let _permit = core.streams.clone().try_acquire_owned().map_err(busy)?;
    let apps = match &params.app {
        Some(name) => {
            let name: AppName = name.parse().map_err(|error: api_types::name::ParseError| bad_request(error.to_string()))?;
            vec![ctx.app(&name).await?]
        }
        None => ctx.backend().app_page(&ctx.org, &ListQuery::default()).await?,
    };
    Ok(Json(ctx.caller.api().usage.usage(&apps).await?))
}
