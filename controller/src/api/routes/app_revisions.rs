//! Revisions of an app: the list with what each changed, one of them as it was, and what differs between two.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use api_types::AppName;
use api_types::api::{List, RevisionDetail, RevisionDiff, RevisionInfo};
use api_types::diff::diff;
use axum::Json;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::auth::{Reads, TenantCtx};
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::{ApiError, ApiResult};
use crate::api::extract::{Name, Params, RevisionName, bad_request};
use crate::api::listing::{after, limit, page};
use crate::api::state::SharedCore;
use crate::api::{examples, view};
use crate::store::{AppRecord, ListQuery, Revision};

/// Entries when the request does not say how many.
const DEFAULT_LIMIT: i64 = 100;

pub(super) fn routes() -> ApiRouter<SharedCore> {
    ApiRouter::new()
        .api_route(
            "/v1/orgs/{org}/apps/{name}/revisions",
            get_with(list, |op| {
                describe(
                    op,
                    Tag::Apps,
                    "listRevisions",
                    "List an app's revisions",
                    "Every change of the spec: who, when, from where, what changed in one line, and what became of it; newest first. With \
                     `at` only those that were there at that time: the first one is what was wanted then.",
                )
                .answer_example(200, examples::list(examples::revision()))
            }),
        )
        .api_route(
            "/v1/orgs/{org}/apps/{name}/revisions/{revision}",
            get_with(one, |op| {
                describe(
                    op,
                    Tag::Apps,
                    "getRevision",
                    "Get a revision of an app",
                    "The manifest as it was; secret values are `null`, which in an apply means the value that is stored now. To get the old \
                     values back, roll back.",
                )
                .answer_example(200, examples::revision_detail())
            }),
        )
        .api_route(
            "/v1/orgs/{org}/apps/{name}/revisions/{revision}/diff/{other}",
            get_with(compare, |op| {
                describe(
                    op,
                    Tag::Apps,
                    "diffRevisions",
                    "Compare two revisions of an app",
                    "Every field that differs, with both values. A secret differs when its version does; its values are not told.",
                )
                .answer_example(200, examples::revision_diff())
            }),
        )
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListParams {
    /// Most entries, 1 to 1000; 100 when absent. When there are older ones, `metadata.continue` is set.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<i64>,
    /// The `metadata.continue` of the page before; goes on with older ones.
    #[serde(rename = "continue")]
    continue_token: Option<String>,
    /// Only revisions that were there at this time (RFC 3339).
    at: Option<DateTime<Utc>>,
}

async fn list(ctx: TenantCtx<Reads>, Name(name): Name<AppName>, Params(params): Params<ListParams>) -> ApiResult<Json<List<RevisionInfo>>> {
    let limit = limit(params.limit)?.unwrap_or(DEFAULT_LIMIT);
    let before = after(params.continue_token.as_deref())?.map(|text| text.parse::<i64>()).transpose();
    let before = before.map_err(|_| bad_request("continue must be what metadata.continue of the page before said"))?;
    let app = ctx.app(&name).await?;
    // One more than the page has, to tell what the last of them changed and whether there are older ones.
    let found = ctx.backend().revision_page(app.uid, before, params.at, limit + 1).await?;
    let line = |(at, revision): (usize, &Revision)| view::revision(&app, revision, found.get(at + 1));
    let items: Vec<RevisionInfo> = found.iter().enumerate().map(line).collect();
    let query = ListQuery { limit: Some(limit + 1), ..ListQuery::default() };
    Ok(Json(page(items, &query, |revision| revision.generation.to_string())))
}

async fn one(
    ctx: TenantCtx<Reads>,
    Name(name): Name<AppName>,
    Name(revision): Name<RevisionName<false>>,
) -> ApiResult<Json<RevisionDetail>> {
    let app = ctx.app(&name).await?;
    let found = get(&ctx, &app, revision.number()?).await?;
    // The one before may have been removed long ago, so it need not be the next lower number.
    let previous = ctx.backend().revision_get(app.uid, found.generation - 1).await?;
    let revision = view::revision(&app, &found, previous.as_ref());
    Ok(Json(RevisionDetail { revision, manifest: view::manifest_of(&app, found) }))
}

async fn compare(
    ctx: TenantCtx<Reads>,
    Name(name): Name<AppName>,
    Name(revision): Name<RevisionName<false>>,
    Name(other): Name<RevisionName<true>>,
) -> ApiResult<Json<RevisionDiff>> {
    let app = ctx.app(&name).await?;
    let (from, to) = (get(&ctx, &app, revision.number()?).await?, get(&ctx, &app, other.number()?).await?);
    let changes = diff(&from.content(), &to.content());
    Ok(Json(RevisionDiff { name: name.into(), from: from.generation, to: to.generation, changes }))
}

async fn get(ctx: &TenantCtx<Reads>, app: &AppRecord, number: i64) -> ApiResult<Revision> {
    let found = ctx.backend().revision_get(app.uid, number).await?;
    found.ok_or_else(|| {
        let newest = app.generation;
        ApiError::not_found(format!("the app \"{}\" has no revision {number}; the newest is {newest}, and old ones are removed", app.name))
    })
}
