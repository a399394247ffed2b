//! Why an app is as it is: the chain from `Ready` to the cause, with the last lines of the task that shows it.

use std::time::Duration;

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use api_types::AppName;
use api_types::kinds::app::VerdictPhase;
use api_types::why::{LogExcerpt, Why, Witness};
use axum::Json;
use futures::StreamExt;
use tokio::time::timeout;

use crate::api::auth::{Reads, TenantCtx};
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::ApiResult;
use crate::api::examples;
use crate::api::extract::Name;
use crate::api::state::{LogError, LogQuery, SharedCore};
use crate::explain::why::{self, Facts};
use crate::store::{AppRecord, Revision};

/// Longest wait for a log; the answer is worth more than its lines.
const LOG_LIMIT: Duration = Duration::from_secs(3);
/// Last lines that are shown.
const LINES: u32 = 20;

pub(super) fn routes() -> ApiRouter<SharedCore> {
    ApiRouter::new().api_route(
        "/v1/orgs/{org}/apps/{name}/why",
        get_with(explain, |op| {
            describe(
                op,
                Tag::Apps,
                "whyApp",
                "Why an app is as it is",
                "What is wrong, since when, on which node, the last lines of the task that shows it, and what to do next; for a ready app, \
                 what shows that it is. `case` is from a closed list, each with a section of the page in `see`. When the log cannot be \
                 read, `log.missing` says why; the rest of the answer does not need the engine.",
            )
            .answer_example(200, examples::why())
        }),
    )
}

async fn explain(ctx: TenantCtx<Reads>, Name(name): Name<AppName>) -> ApiResult<Json<Why>> {
    let app = ctx.app(&name).await?;
    let backend = ctx.backend();
    let newest = backend.revision_get(app.uid, app.generation).await?;
    let observation = backend.observation_get(app.uid).await?;
    let processes = backend.heartbeat_list().await?;
    let nodes = backend.node_list().await?;
    let ahead = backend.glance_ahead(app.uid).await?;
    let kept = backend.revision_failure_get(app.uid, app.generation).await?;
    let is_failed = newest.as_ref().is_some_and(|revision| revision.verdict.phase == VerdictPhase::Failed);
    let api = ctx.caller.api();
    let seen = || observation.as_ref().and_then(|(value, _)| api.planner.witness(value, app.generation));
    let witness = kept.filter(|_| is_failed).or_else(seen);
    let facts = Facts {
        org: &app.org,
        name: &app.name,
        generation: app.generation,
        changed: newest.as_ref().map(|revision: &Revision| revision.created_at),
        deleting: app.deletion_timestamp,
        spec: &app.spec,
        status: &app.status,
        witness: witness.as_ref(),
        processes: &processes,
        nodes: &nodes,
        ahead,
        platform: ctx.caller.is_platform(),
        now: api.clock.now(),
    };
    let mut answer = why::why(&facts);
    if let Some(witness) = why::wants_log(&answer, witness.as_ref()) {
        answer.log = Some(excerpt(&ctx, &app, witness).await);
    }
    Ok(Json(answer))
}

/// The last lines of a task, or why there are none.
async fn excerpt(ctx: &TenantCtx<Reads>, app: &AppRecord, witness: &Witness) -> LogExcerpt {
    let mut read = LogExcerpt { replica: witness.replica(), ..LogExcerpt::default() };
    match timeout(LOG_LIMIT, lines(ctx, app, witness)).await {
        Ok(Ok(lines)) if lines.is_empty() => read.missing = Some("the task wrote nothing, or the engine has forgotten it".to_owned()),
        Ok(Ok(lines)) => read.lines = lines,
        Ok(Err(error)) => read.missing = Some(error.to_string()),
        Err(_) => read.missing = Some(format!("the log could not be read within {} s", LOG_LIMIT.as_secs())),
    }
    read
}

async fn lines(ctx: &TenantCtx<Reads>, app: &AppRecord, witness: &Witness) -> Result<Vec<String>, LogError> {
    let query =
        LogQuery { follow: false, process: witness.process.parse().ok(), since: None, tail: Some(LINES), task: Some(witness.task.clone()) };
    let mut stream = ctx.caller.api().logs.logs(app, query).await?;
    let mut found = Vec::new();
    while let Some(line) = stream.next().await {
        found.push(LogExcerpt::cut(&line?.line));
    }
    Ok(found.split_off(found.len().saturating_sub(usize::try_from(LINES).unwrap_or(usize::MAX))))
}
