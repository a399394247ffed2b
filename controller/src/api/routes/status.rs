//! The platform at a glance.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use api_types::platform::PlatformStatus;
use axum::Json;
use chrono::TimeDelta;

use crate::api::auth::Caller;
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::ApiResult;
use crate::api::examples;
use crate::api::state::SharedCore;
use crate::explain::platform;

/// Most apps that are named.
const MAX_APPS: i64 = 10;

pub(super) fn routes() -> ApiRouter<SharedCore> {
    ApiRouter::new().api_route(
        "/v1/status",
        get_with(status, |op| {
            describe(
                op,
                Tag::Server,
                "getStatus",
                "The platform at a glance",
                "Processes with who leads, engine, proxy and queue as they last reported; apps by whether they are ready; the oldest change \
                 that waits. A token that is limited to an organization sees its own apps and no process.",
            )
            .answer_example(200, examples::platform_status())
        }),
    )
}

async fn status(caller: Caller) -> ApiResult<Json<PlatformStatus>> {
    let (backend, time, org) = (caller.backend(), caller.api().clock.now(), caller.org()?);
    let org = org.as_ref();
    let processes = backend.heartbeat_list().await?;
    let oldest_unreconciled = backend.glance_unreconciled(org).await?;
    let behind = backend.glance_behind(org).await?.map(|(count, first)| platform::behind(count, &first));
    let mut problems = match org {
        None => platform::problems(&processes, oldest_unreconciled.as_ref(), time),
        // Hosts and other organisations' apps are not a tenant's business; whether anybody works is.
        Some(_) => platform::problems_of_a_tenant(&processes, oldest_unreconciled.as_ref(), time),
    };
    problems.extend(behind);
    Ok(Json(PlatformStatus {
        healthy: problems.is_empty(),
        problems,
        processes: if org.is_none() { processes } else { Vec::new() },
        apps: backend.glance_counts(org).await?,
        not_ready: backend.glance_not_ready(org, MAX_APPS).await?,
        oldest_unreconciled,
        failures_last_hour: backend.glance_failures(org, time - TimeDelta::hours(1)).await?,
        drift_last_hour: Some(backend.drift_count(org, time - TimeDelta::hours(1)).await?),
        time,
    }))
}
