//! Nodes: machines of the Swarm, as the controller last observed them, and what may be asked of them. For platform tokens.

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use api_types::Node;
use api_types::kinds::node::Availability;
use api_types::problem::ProblemKind;
use api_types::selector::Selectable;
use axum::Json;

use crate::api::auth::{Administers, PlatformCtx, Reads};
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::{ApiError, ApiResult};
use crate::api::examples;
use crate::api::extract::{Name, NodeName, Params, excerpt};
use crate::api::listing::{WatchParams, page_of_all};
use crate::api::state::SharedCore;
use crate::api::watch::{Listed, Resume};
use crate::store::Watched;

use super::WriteParams;

pub(super) fn routes() -> ApiRouter<SharedCore> {
    ApiRouter::new()
        .api_route(
            "/v1/nodes",
            get_with(list, |op| {
                describe(op, Tag::Platform, "listNodes", "List nodes", "Machines of the Swarm, as last observed.")
                    .answer_example(200, examples::list(examples::node()))
            }),
        )
        .api_route(
            "/v1/nodes/{name}",
            get_with(get, |op| {
                describe(op, Tag::Platform, "getNode", "Get a node", "One machine, as last observed.").answer_example(200, examples::node())
            }),
        )
        .api_route(
            "/v1/nodes/{name}/drain",
            post_with(drain, |op| {
                let text = "Asks that the machine takes no tasks, and that those that it has move elsewhere: the edge stops sending requests \
                            to its tasks first, where the app has others. It holds until the machine is activated.";
                describe(op, Tag::Platform, "drainNode", "Drain a node", text).answer_example(200, examples::node())
            }),
        )
        .api_route(
            "/v1/nodes/{name}/activate",
            post_with(activate, |op| {
                let text = "Asks that the machine takes tasks. Tasks that run elsewhere stay where they are.";
                describe(op, Tag::Platform, "activateNode", "Activate a node", text).answer_example(200, examples::node())
            }),
        )
}

async fn list(ctx: PlatformCtx<Reads>, Params(params): Params<WatchParams>, resume: Resume) -> ApiResult<Listed<Node>> {
    let query = params.query(Selectable::NODE)?;
    if params.watch {
        return super::watch(&ctx.caller, (Watched::Nodes, None), query, (params, resume)).await;
    }
    let version = super::list_version(&ctx.caller, params.is_first_page()).await?;
    // Host names of machines need not differ.
    let key = |node: &Node| format!("{} {}", node.metadata.name, node.status.as_ref().map_or("", |status| &status.id));
    Ok(Listed::Whole(page_of_all(ctx.backend().node_list().await?, &query, key).at(version)))
}

async fn get(ctx: PlatformCtx<Reads>, Name(NodeName(name)): Name<NodeName>) -> ApiResult<Json<Node>> {
    find(&ctx, &name).await.map(Json)
}

/// A node by its host name, or by the engine's id where several machines have one host name.
async fn find<A>(ctx: &PlatformCtx<A>, name: &str) -> ApiResult<Node> {
    let id = |node: &Node| node.status.as_ref().map(|status| status.id.clone()).unwrap_or_default();
    let mut found: Vec<Node> = ctx.backend().node_list().await?;
    found.retain(|node| node.metadata.name == name || id(node) == name);
    match (found.pop(), found.is_empty()) {
        (Some(node), true) => Ok(node),
        (Some(last), false) => {
            let ids: Vec<String> = found.iter().chain([&last]).map(id).collect();
            let detail = format!("{} nodes are called \"{}\"; name one by its id: {}", ids.len(), excerpt(name), ids.join(", "));
            Err(ApiError::new(ProblemKind::Conflict, detail))
        }
        (None, _) => Err(ApiError::not_found(format!("there is no node \"{}\"", excerpt(name)))),
    }
}

async fn drain(
    ctx: PlatformCtx<Administers>,
    Name(NodeName(name)): Name<NodeName>,
    Params(params): Params<WriteParams>,
) -> ApiResult<Json<Node>> {
    ask(&ctx, &name, Availability::Drain, params.dry_run).await
}

async fn activate(
    ctx: PlatformCtx<Administers>,
    Name(NodeName(name)): Name<NodeName>,
    Params(params): Params<WriteParams>,
) -> ApiResult<Json<Node>> {
    ask(&ctx, &name, Availability::Active, params.dry_run).await
}

async fn ask(ctx: &PlatformCtx<Administers>, name: &str, wanted: Availability, dry_run: bool) -> ApiResult<Json<Node>> {
    let mut node = find(ctx, name).await?;
    let id = node.status.as_ref().map(|status| status.id.clone()).unwrap_or_default();
    ctx.backend().node_ask(&id, wanted, &ctx.caller.writes(wanted.as_str(), dry_run)).await?;
    node.spec.availability = Some(wanted);
    Ok(Json(node))
}
