//! Pauses: nothing is written for an app for a while.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use api_types::AppName;
use api_types::drift::{PauseRequest, PauseState};

use super::{Object, ObjectResult, WriteParams};
use crate::api::auth::{Caller, Reads, TenantCtx, Writes};
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::ApiError;
use crate::api::examples;
use crate::api::extract::{IfMatch, Name, Params, TypedBody};
use crate::api::state::SharedCore;
use crate::store::AppRecord;

pub(super) fn routes() -> ApiRouter<SharedCore> {
    let route = get_with(get, |op| {
        describe(op, Tag::Apps, "getPause", "Get an app's pause", "Whether nothing is written for the app now, by whom, why and until when.")
            .answer_example(200, examples::pause())
    })
    .put_with(put, |op| {
        describe(
            op,
            Tag::Apps,
            "pauseApp",
            "Pause an app",
            "From now on nothing is written for the app, on the engine or the edge, until the pause ends by itself or is ended. What runs goes \
             on running, and everything is observed and recorded. A pause that is there already is replaced. Changes of the spec, and a \
             deletion, are stored and wait.",
        )
        .request_example(examples::pause_request())
        .answer_example(200, examples::pause())
    })
    .delete_with(delete, |op| {
        describe(op, Tag::Apps, "resumeApp", "End an app's pause", "Ends the pause now; an app that is not paused stays as it is.")
            .answer_example(200, examples::no_pause())
    });
    ApiRouter::new().api_route("/v1/orgs/{org}/apps/{name}/pause", route)
}

fn state_of(record: &AppRecord, caller: &Caller) -> Object<PauseState> {
    Object::ok(Some(record.resource_version.to_string()), record.pause.state(caller.api().clock.now()))
}

async fn get(ctx: TenantCtx<Reads>, Name(name): Name<AppName>) -> ObjectResult<PauseState> {
    Ok(state_of(&ctx.app(&name).await?, &ctx.caller))
}

async fn put(
    ctx: TenantCtx<Writes>,
    Name(name): Name<AppName>,
    Params(params): Params<WriteParams>,
    IfMatch(if_match): IfMatch,
    TypedBody(request): TypedBody<PauseRequest>,
) -> ObjectResult<PauseState> {
    let errors = request.check();
    if !errors.is_empty() {
        return Err(ApiError::invalid(errors));
    }
    let cx = ctx.caller.writes("pause", params.dry_run);
    let written = ctx.backend().app_pause(&ctx.org, &name, (&request, if_match), &cx).await?;
    Ok(state_of(&written.ok_or_else(|| ctx.no_such_app(&name))?, &ctx.caller))
}

async fn delete(
    ctx: TenantCtx<Writes>,
    Name(name): Name<AppName>,
    Params(params): Params<WriteParams>,
    IfMatch(if_match): IfMatch,
) -> ObjectResult<PauseState> {
    let cx = ctx.caller.writes("resume", params.dry_run);
    let written = ctx.backend().app_resume(&ctx.org, &name, if_match, &cx).await?;
    Ok(state_of(&written.ok_or_else(|| ctx.no_such_app(&name))?, &ctx.caller))
}
