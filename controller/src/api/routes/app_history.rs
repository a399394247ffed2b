//! What happened: events of an app or an organization.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use api_types::AppName;
use api_types::api::List;
use api_types::event::Event;
use api_types::selector::{FieldSelector, LabelSelector, Selectable};
use chrono::DateTime;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::auth::{Reads, TenantCtx};
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::ApiResult;
use crate::api::examples;
use crate::api::extract::{Name, Params, bad_request};
use crate::api::listing::{after, continue_after, limit};
use crate::api::state::SharedCore;
use crate::api::watch::{self, Listed, Resume};
use crate::store::{EventQuery, Scope, Watched};

/// Entries when the request does not say how many.
const DEFAULT_LIMIT: i64 = 100;

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
struct EventParams {
    /// Most entries, 1 to 1000; 100 when absent. When there are older ones, `metadata.continue` is set.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<i64>,
    /// The `metadata.continue` of the page before; goes on with older ones.
    #[serde(rename = "continue")]
    continue_token: Option<String>,
    /// Go on with new events, as server-sent events, until the client closes the answer; `limit` of the last ones come first.
    #[serde(default)]
    watch: bool,
    /// With `watch`: begin with what changed after this, the `metadata.resourceVersion` of a list or the `id` of a message. Too old a
    /// one is refused with 410.
    resource_version: Option<String>,
    /// Only events with these fields: `kind`, `name`, `type` (`Normal` or `Warning`) and `reason`; such as `type=Warning`.
    field_selector: Option<String>,
}

impl EventParams {
    fn query(&self) -> ApiResult<EventQuery> {
        if self.resource_version.is_some() && !self.watch {
            return Err(bad_request("resourceVersion goes with watch=true"));
        }
        if self.watch && self.continue_token.is_some() {
            return Err(bad_request("a watch has no pages: leave continue out"));
        }
        let err = || bad_request("continue must be what metadata.continue of the page before said");
        let before = after(self.continue_token.as_deref())?;
        let position = |text: String| {
            let (micros, id) = text.split_once(' ')?;
            Some((DateTime::from_timestamp_micros(micros.parse().ok()?)?, id.parse().ok()?))
        };
        let before = before.map(|text| position(text).ok_or_else(err)).transpose()?;
        let fields = FieldSelector::parse(self.field_selector.as_deref().unwrap_or_default(), Selectable::EVENT);
        let fields = fields.map_err(|error| bad_request(error.to_string()))?;
        Ok(EventQuery { before, limit: limit(self.limit)?.unwrap_or(DEFAULT_LIMIT) + 1, fields })
    }
}

/// Newest last, with one more than the page at the front when there are older ones.
fn event_page(mut items: Vec<Event>, query: &EventQuery) -> List<Event> {
    let fits = usize::try_from(query.limit - 1).unwrap_or(usize::MAX);
    let more = items.len().saturating_sub(fits);
    items.drain(..more);
    let mut list = List::from(items);
    if more > 0 {
        let position = list.items.first().map(|oldest| format!("{} {}", oldest.last_seen.timestamp_micros(), oldest.id));
        list.metadata.continue_token = position.as_deref().map(continue_after);
    }
    list
}

async fn org_events(ctx: TenantCtx<Reads>, Params(params): Params<EventParams>, resume: Resume) -> ApiResult<Listed<Event>> {
    let query = params.query()?;
    if params.watch {
        return watch_events(ctx, None, query, (params, resume)).await;
    }
    let version = super::list_version(&ctx.caller, params.continue_token.is_none()).await?;
    let items = ctx.backend().event_page(Some(&ctx.org), None, &query).await?;
    Ok(Listed::Whole(event_page(items, &query).at(version)))
}

async fn app_events(
    ctx: TenantCtx<Reads>,
    Name(name): Name<AppName>,
    Params(params): Params<EventParams>,
    resume: Resume,
) -> ApiResult<Listed<Event>> {
    let query = params.query()?;
    if params.watch {
        return watch_events(ctx, Some(name.to_string()), query, (params, resume)).await;
    }
    let version = super::list_version(&ctx.caller, params.continue_token.is_none()).await?;
    let items = ctx.backend().event_page(Some(&ctx.org), Some(("App", name.as_str())), &query).await?;
    // The events of a deleted app can still be read; only a name that never was is unknown.
    if items.is_empty() {
        ctx.app(&name).await?;
    }
    Ok(Listed::Whole(event_page(items, &query).at(version)))
}

async fn watch_events(
    ctx: TenantCtx<Reads>,
    app: Option<String>,
    query: EventQuery,
    (params, resume): (EventParams, Resume),
) -> ApiResult<Listed<Event>> {
    let scope = Scope { what: Watched::Events, org: Some(ctx.org), object: app.map(|name| ("App", name)) };
    let request = watch::Request {
        scope,
        labels: LabelSelector::default(),
        fields: query.fields,
        from: params.resource_version,
        resume,
        // One more was asked for, to see whether there is one.
        last: Some(query.limit - 1),
    };
    watch::open(&ctx.caller, request).await.map(Listed::Watch)
}
