//! Plan: the steps that the controller would take, from what it last observed. Nothing is written.

use std::collections::{BTreeMap, BTreeSet};

use aide::axum::ApiRouter;
use aide::axum::routing::post_with;
use api_types::api::{ApplyAction, PlanResponse, PlanStep, Role};
use api_types::diff::{self, Change, Content};
use api_types::kinds::app::AppSpec;
use api_types::{App, AppName, EnvKey, Host, Kind, Manifest};
use axum::Json;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::admission::admit_put;
use crate::api::adoption::adoptable;
use crate::api::auth::{Access, Reads, TenantCtx};
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::ApiResult;
use crate::api::extract::{Name, OptionalBody, Params};
use crate::api::state::{Adoptable, PlanInput, SharedCore};
use crate::api::{examples, view};
use crate::store::{AppRecord, Revision};

/// Revisions that a plan looks at: the newest, and the last one that served.
const MAX_REVISIONS: i64 = 100;

pub(super) fn routes() -> ApiRouter<SharedCore> {
    ApiRouter::new().api_route(
        "/v1/orgs/{org}/apps/{name}/plan",
        post_with(plan, |op| {
            describe(
                op,
                Tag::Apps,
                "planApp",
                "Plan an app",
                "The steps that the controller would take for the manifest in the body, or, without a body, for the stored one. Computed \
                 from what the controller last observed (`observedAt`); nothing is written. With a body it needs the role member, since it \
                 tells whether a secret would change.",
            )
            .request_example(examples::app_manifest())
            .answer_example(200, examples::plan())
        }),
    )
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PlanParams {
    /// As if it were applied with `adopt`.
    #[serde(default)]
    adopt: bool,
}

async fn plan(
    ctx: TenantCtx<Reads>,
    Name(name): Name<AppName>,
    Params(params): Params<PlanParams>,
    OptionalBody(body, _): OptionalBody<App>,
) -> ApiResult<Json<PlanResponse>> {
    let mut adoptions = Vec::new();
    let wanted = match &body {
        Some(body) => {
            ctx.caller.require(Role::Member)?;
            Some(admit_put(body, Kind::App, name.as_str(), Some(&ctx.org))?)
        }
        None => None,
    };
    let current = ctx.backend().app_get(&ctx.org, &name).await?;
    let (spec, action, changed_secrets, changes) = match (wanted, &current) {
        (Some(manifest), _) => {
            let mut cx = ctx.caller.writes("plan", true);
            if params.adopt {
                adoptions = adoptable(&ctx.caller, std::slice::from_ref(&manifest), false).await?;
                cx.adoptions = adoptions.iter().map(|service| service.grant.clone()).collect();
            }
            let results = ctx.backend().apply(std::slice::from_ref(&manifest), &cx).await?;
            let action = results.first().map_or(ApplyAction::Unchanged, |result| result.action);
            let Manifest::App(app) = manifest else { return Err(ctx.no_such_app(&name)) };
            let changed = changed_secrets(&ctx, current.as_ref(), &app.spec).await?;
            // Versions as the apply would give them out: first those of secrets, then those of passwords.
            let given = current.iter().flat_map(|record| record.secret_versions.values()).copied().max().unwrap_or(0);
            let next = given + i64::try_from(changed.len()).unwrap_or(0);
            let spec = ctx.backend().passwords_preview(current.as_ref(), &app.spec, next).await?;
            let spec = view::without_secrets(spec);
            let changes = changes(current.as_ref(), &spec, &changed);
            (spec, action, changed, changes)
        }
        (None, Some(record)) => (view::without_secrets(record.spec.clone()), ApplyAction::Unchanged, BTreeSet::new(), Vec::new()),
        (None, None) => return Err(ctx.no_such_app(&name)),
    };
    let (steps, observed_at) =
        steps(&ctx, Asked { name: &name, current, wanted: spec, changed_secrets, adoptions, restored: None }).await?;
    Ok(Json(PlanResponse { name: name.into(), action, changes, steps, observed_at }))
}

/// What differs from the stored app. A secret of another value has no version yet.
fn changes(current: Option<&AppRecord>, wanted: &AppSpec, changed_secrets: &BTreeSet<EnvKey>) -> Vec<Change> {
    let (none, nothing) = (BTreeMap::new(), BTreeMap::new());
    let Some(current) = current else {
        return diff::created(&Content { spec: wanted, secret_versions: &none, resolved_image: None, restarts: &nothing });
    };
    let kept = current.secret_versions.iter().filter(|(key, _)| !changed_secrets.contains(*key));
    let versions: BTreeMap<EnvKey, i64> = kept.map(|(key, version)| (key.clone(), *version)).collect();
    let stored = view::without_secrets(current.spec.clone());
    let content = |spec, secret_versions| Content { spec, secret_versions, resolved_image: None, restarts: &nothing };
    diff::diff(&content(&stored, &current.secret_versions), &content(wanted, &versions))
}

/// What steps are asked for.
pub(super) struct Asked<'a> {
    pub(super) name: &'a AppName,
    pub(super) current: Option<AppRecord>,
    pub(super) wanted: AppSpec,
    pub(super) changed_secrets: BTreeSet<EnvKey>,
    pub(super) adoptions: Vec<Adoptable>,
    pub(super) restored: Option<Revision>,
}

/// The steps from what was last observed, and when that was.
pub(super) async fn steps<A: Access>(ctx: &TenantCtx<A>, asked: Asked<'_>) -> ApiResult<(Vec<PlanStep>, Option<DateTime<Utc>>)> {
    let Asked { name, current, wanted, changed_secrets, adoptions, restored } = asked;
    let custom_hosts = custom_hosts(ctx, name, &wanted).await?;
    let (observation, revisions) = match &current {
        Some(record) => (ctx.backend().observation_get(record.uid).await?, ctx.backend().revision_list(record.uid, MAX_REVISIONS).await?),
        None => (None, Vec::new()),
    };
    let (observed, observed_at) = observation.map_or((None, None), |(value, at)| (Some(value), Some(at)));
    let (org, name) = (ctx.org.clone(), name.clone());
    let input = PlanInput { org, name, current, wanted, changed_secrets, custom_hosts, observed, revisions, adoptions, restored };
    Ok((ctx.caller.api().planner.plan(input), observed_at))
}

/// Keys whose value would be new or another one.
async fn changed_secrets(ctx: &TenantCtx<Reads>, current: Option<&AppRecord>, wanted: &AppSpec) -> ApiResult<BTreeSet<EnvKey>> {
    let mut changed = BTreeSet::new();
    for (key, value) in &wanted.secrets {
        let stored = current.and_then(|record| record.secret_versions.get(key).map(|version| (record.uid, *version)));
        let same = match (value, stored) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(value), Some((uid, version))) => {
                ctx.backend().secret_value(uid, &ctx.org, key, version).await?.is_some_and(|stored| stored == *value)
            }
        };
        if !same {
            changed.insert(key.clone());
        }
    }
    Ok(changed)
}

/// The spec's hosts, and free-standing domains that point to the app.
async fn custom_hosts<A: Access>(ctx: &TenantCtx<A>, name: &AppName, spec: &AppSpec) -> ApiResult<Vec<Host>> {
    let domains = ctx.backend().domain_list(Some(&ctx.org)).await?;
    let standing = domains.into_iter().filter(|domain| domain.spec.app == *name && domain.metadata.owner.is_none());
    let hosts: BTreeSet<Host> =
        standing.filter_map(|domain| domain.metadata.name.parse().ok()).chain(spec.domains.iter().cloned()).collect();
    Ok(hosts.into_iter().collect())
}
