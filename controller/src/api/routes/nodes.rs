//! Nodes: machines of the Swarm, as the controller last observed them. Read-only, for platform tokens.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use api_types::Node;
use api_types::selector::Selectable;
use axum::Json;

use crate::api::auth::{PlatformCtx, Reads};
use crate::api::docs::{Examples, Tag, describe};
use crate::api::error::{ApiError, ApiResult};
use crate::api::examples;
use crate::api::extract::{Name, NodeName, Params, excerpt};
use crate::api::listing::{WatchParams, page_of_all};
use crate::api::state::SharedCore;
use crate::api::watch::{Listed, Resume};
use crate::store::Watched;

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
    let found = ctx.backend().node_list().await?.into_iter().find(|node| node.metadata.name == name);
    found.map(Json).ok_or_else(|| ApiError::not_found(format!("there is no node \"{}\"", excerpt(&name))))
}
