//! Tokens: made, listed, revoked. Those of the platform by its administrators; those of an organization by its
//! own, who can make no token that reaches further or may more than theirs.

use aide::axum::ApiRouter;
use aide::axum::routing::{delete_with, get_with};
use aide::transform::TransformOperation;
use api_types::api::List;
use api_types::problem::ProblemKind;
use api_types::token::{TokenCreated, TokenInfo, TokenRequest};
use api_types::{FieldError, OrgName};
use axum::Json;
use axum::http::StatusCode;
use axum::response::NoContent;
use secrecy::ExposeSecret;

use super::{Object, ObjectResult};
use crate::api::auth::{Administers, Caller, PlatformCtx, TenantCtx, no_such_org};
use crate::api::docs::{Examples, Tag, answers, describe};
use crate::api::error::{ApiError, ApiResult};
use crate::api::examples;
use crate::api::extract::{Name, Params, TokenId, TypedBody};
use crate::api::listing::{PageParams, page_of_all};
use crate::api::state::SharedCore;
use crate::store::{NewToken, StoreError};

/// Longest name of a token, in characters.
const MAX_NAME: usize = 100;

const LIST: &str = "By name, expired ones too. Their texts are not stored and cannot be shown.";
const CREATE: &str = "The answer holds the token's text, which is shown this once. `expiresIn` is a duration such as `90d`; without it the token \
                      is good until it is revoked.";
const REVOKE: &str = "Takes effect at once: the next request with it is answered with 401, and its open streams end within seconds.";

pub(super) fn routes() -> ApiRouter<SharedCore> {
    let all =
        get_with(list, |op| listed(op, "listTokens", "List all tokens")).post_with(create, |op| created(op, "createToken", "Make a token"));
    let of_org = get_with(list_in_org, |op| listed(op, "listOrgTokens", "List an organization's tokens"))
        .post_with(create_in_org, |op| created(op, "createOrgToken", "Make a token of an organization"));
    ApiRouter::new()
        .api_route("/v1/tokens", all)
        .api_route("/v1/tokens/{id}", delete_with(revoke, |op| describe(op, Tag::Tokens, "revokeToken", "Revoke a token", REVOKE)))
        .api_route("/v1/orgs/{org}/tokens", of_org)
        .api_route(
            "/v1/orgs/{org}/tokens/{id}",
            delete_with(revoke_in_org, |op| describe(op, Tag::Tokens, "revokeOrgToken", "Revoke a token of an organization", REVOKE)),
        )
}

fn listed<'t>(op: TransformOperation<'t>, id: &str, summary: &str) -> TransformOperation<'t> {
    describe(op, Tag::Tokens, id, summary, LIST).answer_example(200, examples::list(examples::token()))
}

fn created<'t>(op: TransformOperation<'t>, id: &str, summary: &str) -> TransformOperation<'t> {
    let op = describe(answers(op, 201), Tag::Tokens, id, summary, CREATE);
    op.request_example(examples::token_request()).answer_example(201, examples::token_created())
}

async fn list(ctx: PlatformCtx<Administers>, Params(params): Params<PageParams>) -> ApiResult<Json<List<TokenInfo>>> {
    let query = params.query()?;
    Ok(Json(page_of_all(ctx.backend().token_list(None).await?, &query, key)))
}

async fn list_in_org(ctx: TenantCtx<Administers>, Params(params): Params<PageParams>) -> ApiResult<Json<List<TokenInfo>>> {
    let query = params.query()?;
    Ok(Json(page_of_all(ctx.backend().token_list(Some(&ctx.org)).await?, &query, key)))
}

/// Names of tokens need not differ; a name has no control character, so that the order is by name.
fn key(token: &TokenInfo) -> String {
    format!("{}\u{1}{}", token.name, token.id)
}

async fn create(ctx: PlatformCtx<Administers>, TypedBody(request): TypedBody<TokenRequest>) -> ObjectResult<TokenCreated> {
    make(&ctx.caller, &request, request.org.as_ref()).await
}

async fn create_in_org(ctx: TenantCtx<Administers>, TypedBody(request): TypedBody<TokenRequest>) -> ObjectResult<TokenCreated> {
    if request.org.as_ref().is_some_and(|org| *org != ctx.org) {
        return Err(ApiError::invalid(vec![FieldError::new("org", format!("must be \"{}\" here, or absent", ctx.org))]));
    }
    make(&ctx.caller, &request, Some(&ctx.org)).await
}

async fn make(caller: &Caller, request: &TokenRequest, org: Option<&OrgName>) -> ObjectResult<TokenCreated> {
    let length = request.name.chars().count();
    if !(1..=MAX_NAME).contains(&length) || request.name.chars().any(char::is_control) {
        let message = format!("a name has 1 to {MAX_NAME} characters and no control characters");
        return Err(ApiError::invalid(vec![FieldError::new("name", message)]));
    }
    if request.role > caller.who.role {
        return Err(ApiError::new(ProblemKind::Forbidden, "a token can make none that may more than itself"));
    }
    let new = NewToken { name: &request.name, org, role: request.role, expires_in: request.expires_in, created_by: Some(&caller.who.name) };
    let (info, text) = caller.backend().token_create(&new).await.map_err(|error| match (error, org) {
        (StoreError::Missing { .. }, Some(org)) => no_such_org(org.as_str()),
        (error, _) => error.into(),
    })?;
    tracing::info!(token = %info.id, name = %info.name, org = info.org, "made a token");
    Ok(Object::with(StatusCode::CREATED, None, TokenCreated { token: text.expose_secret().to_owned(), info }))
}

async fn revoke(ctx: PlatformCtx<Administers>, Name(TokenId(id)): Name<TokenId>) -> ApiResult<NoContent> {
    take_back(&ctx.caller, None, id).await
}

async fn revoke_in_org(ctx: TenantCtx<Administers>, Name(TokenId(id)): Name<TokenId>) -> ApiResult<NoContent> {
    take_back(&ctx.caller, Some(&ctx.org), id).await
}

async fn take_back(caller: &Caller, org: Option<&OrgName>, id: uuid::Uuid) -> ApiResult<NoContent> {
    if !caller.backend().token_revoke(org, id).await? {
        let whose = org.map_or_else(String::new, |org| format!(" of the organization \"{org}\""));
        return Err(ApiError::not_found(format!("there is no token {id}{whose}, or it is revoked already")));
    }
    tracing::info!(token = %id, "revoked a token");
    Ok(NoContent)
}
