//! Who asks, and what they may do. The contexts here are the handlers' only way to the database.
//!
//! A token that is limited to an organisation gets, for every other one, the answer for one that does
//! not exist: the check uses nothing but the token and the path, so neither the body nor the time taken
//! can tell the two apart. Only then the role is checked.

use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::Operation;
use api_types::api::{Role, WhoAmI};
use api_types::problem::ProblemKind;
use api_types::{AppName, OrgName};
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::{AUTHORIZATION, USER_AGENT};
use axum::http::request::Parts;
use chrono::{DateTime, SecondsFormat, Utc};

use super::backend::Backend;
use super::docs;
use super::error::{ApiError, ApiResult};
use super::extract::excerpt;
use super::rate::{Decision, Quota};
use super::state::{ApiState, Peer, SharedCore};
use crate::store::{AppRecord, TokenLookup, WriteContext};

/// Longest token that is looked up.
const MAX_TOKEN: usize = 256;
/// Name of the security scheme in the OpenAPI document.
pub(super) const SCHEME: &str = "bearer";

/// What a route does, as far as roles are concerned.
pub(super) trait Access: Send + Sync + 'static {
    /// The least role.
    const ROLE: Role;
}
/// Needs `viewer`.
pub(super) struct Reads;
/// Needs `member`.
pub(super) struct Writes;
/// Needs `admin`.
pub(super) struct Administers;

impl Access for Reads {
    const ROLE: Role = Role::Viewer;
}
impl Access for Writes {
    const ROLE: Role = Role::Member;
}
impl Access for Administers {
    const ROLE: Role = Role::Admin;
}

/// A valid token, of any scope and role.
pub(super) struct Caller {
    pub(super) who: WhoAmI,
    /// The client's program, as it names itself.
    client: String,
    core: SharedCore,
}

impl Caller {
    pub(super) fn api(&self) -> &ApiState {
        &self.core.state
    }
    pub(super) fn backend(&self) -> &dyn Backend {
        self.core.state.backend.as_ref()
    }
    pub(super) fn core(&self) -> &SharedCore {
        &self.core
    }
    /// The organisation that the token is limited to.
    ///
    /// # Errors
    /// When the stored name is not one: our fault.
    pub(super) fn org(&self) -> ApiResult<Option<OrgName>> {
        self.who.org.as_deref().map(|org| org.parse::<OrgName>().map_err(|error| ApiError::internal(&error))).transpose()
    }
    pub(super) fn is_platform(&self) -> bool {
        self.who.org.is_none()
    }
    pub(super) fn require(&self, role: Role) -> ApiResult<()> {
        if self.who.role >= role {
            return Ok(());
        }
        let word = |role: Role| match role {
            Role::Viewer => "viewer",
            Role::Member => "member",
            Role::Admin => "admin",
        };
        let detail = format!("this needs the role {}; the token \"{}\" has {}", word(role), self.who.name, word(self.who.role));
        Err(ApiError::new(ProblemKind::Forbidden, detail))
    }
    pub(super) fn require_platform(&self) -> ApiResult<()> {
        if self.is_platform() {
            return Ok(());
        }
        Err(ApiError::new(ProblemKind::Forbidden, "this needs a platform token, one that is not limited to an organization"))
    }
    pub(super) fn writes(&self, source: &str, dry_run: bool) -> WriteContext {
        let adoptions = Vec::new();
        WriteContext { author: self.who.name.clone(), source: source.to_owned(), client: self.client.clone(), dry_run, adoptions }
    }
}

fn unauthorized(detail: &str) -> ApiError {
    ApiError::new(ProblemKind::Unauthorized, detail)
}

/// What the client calls itself and where it is, such as `skyctl/0.1.0 from 192.0.2.7`; empty when neither is known.
fn client(parts: &Parts) -> String {
    let agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // The first product: what follows in a browser's is noise in a history.
    let agent = excerpt(agent.split_whitespace().next().unwrap_or_default());
    match parts.extensions.get::<Peer>() {
        Some(peer) => format!("{agent} from {}", peer.0).trim_start().to_owned(),
        None => agent,
    }
}

/// The token of the request.
fn bearer(parts: &Parts) -> ApiResult<&str> {
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    let missing = || unauthorized("send the header \"Authorization: Bearer <token>\"");
    let value = values.next().ok_or_else(missing)?;
    if values.next().is_some() {
        return Err(unauthorized("there is more than one Authorization header"));
    }
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(missing)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(missing());
    }
    if token.len() > MAX_TOKEN {
        return Err(unauthorized("the token is not valid"));
    }
    Ok(token)
}

/// Where the outermost layer learns what became of the request's allowance.
#[derive(Debug, Clone, Default)]
pub(super) struct RateCell(pub(super) Arc<OnceLock<Decision>>);

impl RateCell {
    fn tell(parts: &Parts, decision: Decision) {
        if let Some(Self(cell)) = parts.extensions.get() {
            let _ = cell.set(decision);
        }
    }
}

/// Counts a request that failed to authenticate against its address; too many are told to wait, whatever the
/// token is.
fn failed(parts: &Parts, core: &SharedCore, error: ApiError) -> ApiError {
    if error.problem().kind != ProblemKind::Unauthorized {
        return error;
    }
    let address = parts.extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
    let failures = core.state.settings.borrow().rate_limit_failures();
    let decision = core.rates.failure(address, Quota { per_window: failures, burst: failures }, core.state.clock.monotonic());
    if decision.allowed {
        return error;
    }
    RateCell::tell(parts, decision);
    ApiError::new(
        ProblemKind::TooManyRequests,
        "too many requests without a valid token came from this address; see the header Retry-After",
    )
}

impl FromRequestParts<SharedCore> for Caller {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, core: &SharedCore) -> ApiResult<Self> {
        let who = Self::authenticate(parts, core).await.map_err(|error| failed(parts, core, error))?;
        if let Some(id) = who.id {
            let quota = core.state.settings.borrow().rate_limit();
            let quota = Quota { per_window: quota.0, burst: quota.1 };
            let decision = core.rates.token(id, quota, core.state.clock.monotonic());
            RateCell::tell(parts, decision);
            if !decision.allowed {
                let detail = format!("the token \"{}\" made too many requests; see the header Retry-After", who.name);
                return Err(ApiError::new(ProblemKind::TooManyRequests, detail));
            }
        }
        Ok(Self { who, client: client(parts), core: core.clone() })
    }
}

impl Caller {
    async fn authenticate(parts: &Parts, core: &SharedCore) -> ApiResult<WhoAmI> {
        let token = bearer(parts)?;
        let ended = |how: &str, at: DateTime<Utc>| {
            // Only who has the token's text learns this, so it tells nothing about other tokens.
            unauthorized(&format!(
                "this token {how} at {}; ask an administrator for another one",
                at.to_rfc3339_opts(SecondsFormat::Secs, true)
            ))
        };
        let found = match core.state.backend.token_find(token).await? {
            TokenLookup::Valid(found) => found,
            TokenLookup::Expired(at) => return Err(ended("expired", at)),
            TokenLookup::Revoked(at) => return Err(ended("was revoked", at)),
            TokenLookup::Unknown => return Err(unauthorized("the token is not valid")),
        };
        core.usage.note(&found, core.state.clock.now());
        let who = WhoAmI { name: found.name, org: found.org, role: found.role, id: Some(found.id), expires_at: found.expires_at };
        tracing::Span::current().record("author", &who.name);
        Ok(who)
    }
}

/// A token that may act on the organisation in the path, which need not exist.
pub(super) struct OrgCtx<A> {
    pub(super) caller: Caller,
    pub(super) org: OrgName,
    access: PhantomData<A>,
}

/// A token that may act on the organisation in the path, which exists.
pub(super) struct TenantCtx<A> {
    pub(super) caller: Caller,
    pub(super) org: OrgName,
    access: PhantomData<A>,
}

/// A token that is not limited to an organisation.
pub(super) struct PlatformCtx<A> {
    pub(super) caller: Caller,
    access: PhantomData<A>,
}

/// The answer for an organisation that does not exist or may not be seen.
pub(super) fn no_such_org(org: &str) -> ApiError {
    ApiError::not_found(format!("there is no organization \"{}\"", excerpt(org)))
}

impl<A: Access> FromRequestParts<SharedCore> for OrgCtx<A> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, core: &SharedCore) -> ApiResult<Self> {
        let caller = Caller::from_request_parts(parts, core).await?;
        let params = RawPathParams::from_request_parts(parts, core)
            .await
            .map_err(|error| ApiError::new(ProblemKind::BadRequest, error.to_string()))?;
        let asked = params.iter().find(|(key, _)| *key == "org").map_or("", |(_, value)| value);
        let org = asked.parse::<OrgName>().map_err(|_| no_such_org(asked))?;
        if caller.org()?.is_some_and(|own| own != org) {
            return Err(no_such_org(asked));
        }
        caller.require(A::ROLE)?;
        Ok(Self { caller, org, access: PhantomData })
    }
}

impl<A: Access> FromRequestParts<SharedCore> for TenantCtx<A> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, core: &SharedCore) -> ApiResult<Self> {
        let OrgCtx { caller, org, .. } = OrgCtx::<A>::from_request_parts(parts, core).await?;
        // A limited token refers to its organisation by foreign key, so only platform tokens can miss.
        if caller.is_platform() && caller.backend().org_get(&org).await?.is_none() {
            return Err(no_such_org(org.as_str()));
        }
        Ok(Self { caller, org, access: PhantomData })
    }
}

impl<A> TenantCtx<A> {
    pub(super) fn backend(&self) -> &dyn Backend {
        self.caller.backend()
    }
    pub(super) fn no_such_app(&self, name: &AppName) -> ApiError {
        ApiError::not_found(format!("there is no app \"{name}\" in the organization \"{}\"", self.org))
    }
    /// The app, or 404.
    pub(super) async fn app(&self, name: &AppName) -> ApiResult<AppRecord> {
        self.backend().app_get(&self.org, name).await?.ok_or_else(|| self.no_such_app(name))
    }
}

impl<A> OrgCtx<A> {
    pub(super) fn backend(&self) -> &dyn Backend {
        self.caller.backend()
    }
}

impl<A: Access> FromRequestParts<SharedCore> for PlatformCtx<A> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, core: &SharedCore) -> ApiResult<Self> {
        let caller = Caller::from_request_parts(parts, core).await?;
        caller.require_platform()?;
        caller.require(A::ROLE)?;
        Ok(Self { caller, access: PhantomData })
    }
}

impl<A> PlatformCtx<A> {
    pub(super) fn backend(&self) -> &dyn Backend {
        self.caller.backend()
    }
}

impl OperationInput for Caller {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        docs::secure(operation);
    }
}
impl<A> OperationInput for OrgCtx<A> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        docs::secure(operation);
        docs::path_parameter::<OrgName>(ctx, operation, "org", "Name of the organisation.");
    }
}
impl<A> OperationInput for TenantCtx<A> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        OrgCtx::<A>::operation_input(ctx, operation);
    }
}
impl<A> OperationInput for PlatformCtx<A> {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        docs::secure(operation);
    }
}
