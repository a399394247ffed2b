//! Extractors whose rejections are problem documents, and which document themselves.

use std::marker::PhantomData;
use std::str::FromStr;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::Operation;
use aide::operation::{ParamLocation, add_parameters, parameters_from_schema};
use api_types::check::ROOT;
use api_types::name::ParseError;
use api_types::problem::ProblemKind;
use api_types::{AppName, CertificateName, FieldError, Host, SettingKey};
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use bytes::BytesMut;
use futures::StreamExt;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::docs;
use super::error::{ApiError, ApiResult};
use super::state::SharedCore;
use crate::store::{MUST_BE_ABSENT, MUST_EXIST};

/// A short, printable form of user text for error messages.
pub(super) fn excerpt(text: &str) -> String {
    let mut out: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        out.push('…');
    }
    out
}

pub(super) fn bad_request(detail: impl Into<String>) -> ApiError {
    ApiError::new(ProblemKind::BadRequest, detail)
}

/// A name that can stand in a path.
pub(super) trait InPath: FromStr<Err = ParseError> + JsonSchema + Send + 'static {
    /// Name of the path's parameter.
    const KEY: &'static str;
    /// For the OpenAPI document.
    const DESCRIPTION: &'static str;
}
impl InPath for AppName {
    const KEY: &'static str = "name";
    const DESCRIPTION: &'static str = "Name of the app.";
}
impl InPath for Host {
    const KEY: &'static str = "host";
    const DESCRIPTION: &'static str = "The host name.";
}
impl InPath for CertificateName {
    const KEY: &'static str = "name";
    const DESCRIPTION: &'static str = "Name of the certificate.";
}
impl InPath for SettingKey {
    const KEY: &'static str = "key";
    const DESCRIPTION: &'static str = "Key of the setting.";
}

/// Host name of a node; only compared, so any text will do.
#[derive(JsonSchema)]
pub(super) struct NodeName(pub(super) String);
impl FromStr for NodeName {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Ok(Self(text.to_owned()))
    }
}
impl InPath for NodeName {
    const KEY: &'static str = "name";
    const DESCRIPTION: &'static str = "Host name of the node.";
}

/// The id of a token.
#[derive(JsonSchema)]
pub(super) struct TokenId(pub(super) Uuid);
impl FromStr for TokenId {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let id = Uuid::try_parse(text)
            .map_err(|_| ParseError(format!("a token's id is a UUID as lists show it; \"{}\" is none", excerpt(text))))?;
        Ok(Self(id))
    }
}
impl InPath for TokenId {
    const KEY: &'static str = "id";
    const DESCRIPTION: &'static str = "Id of the token, as lists show it; not its text.";
}

/// Number of a revision, or of the one that it is compared with: `11` or `r11`.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = "^r?[1-9][0-9]*$"))]
pub(super) struct RevisionName<const OTHER: bool>(String);
impl<const OTHER: bool> RevisionName<OTHER> {
    /// The number.
    pub(super) fn number(&self) -> ApiResult<i64> {
        let digits = self.0.strip_prefix('r').unwrap_or(&self.0);
        let number = digits.parse::<i64>().ok().filter(|number| *number > 0);
        number.ok_or_else(|| bad_request(format!("a revision is a number such as 11 or r11; \"{}\" is not", excerpt(&self.0))))
    }
}
impl<const OTHER: bool> FromStr for RevisionName<OTHER> {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Ok(Self(text.to_owned()))
    }
}
impl<const OTHER: bool> InPath for RevisionName<OTHER> {
    const KEY: &'static str = if OTHER { "other" } else { "revision" };
    const DESCRIPTION: &'static str =
        if OTHER { "Number of the revision that is compared to." } else { "Number of the revision, with or without an r before it." };
}

/// A name from the path. Put it after the context, so that a foreign organisation is a 404 before a
/// malformed name is a 400.
pub(super) struct Name<T>(pub(super) T);

impl<T: InPath> FromRequestParts<SharedCore> for Name<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, core: &SharedCore) -> ApiResult<Self> {
        let params = RawPathParams::from_request_parts(parts, core).await.map_err(|error| bad_request(error.to_string()))?;
        let text = params.iter().find(|(key, _)| *key == T::KEY).map_or("", |(_, value)| value);
        text.parse::<T>().map(Self).map_err(|error| bad_request(error.to_string()))
    }
}
impl<T: InPath> OperationInput for Name<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        docs::path_parameter::<T>(ctx, operation, T::KEY, T::DESCRIPTION);
    }
}

/// Query parameters; unknown ones are refused when the type says so.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<SharedCore> for Params<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &SharedCore) -> ApiResult<Self> {
        let Query(value) = Query::try_from_uri(&parts.uri).map_err(|error| bad_request(error.body_text()))?;
        Ok(Self(value))
    }
}
impl<T: JsonSchema> OperationInput for Params<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        // Not `subschema_for`: parameters are written out, so their type is no component.
        let schema = T::json_schema(&mut ctx.schema);
        let params = parameters_from_schema(ctx, schema, ParamLocation::Query);
        add_parameters(ctx, operation, params);
    }
}

/// The condition in the headers, if the request has one, as the version that the store expects: `If-Match` with a
/// version, `If-Match: *` (the object must exist), or `If-None-Match: *` (it must not).
pub(super) struct IfMatch(pub(super) Option<i64>);

impl FromRequestParts<SharedCore> for IfMatch {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &SharedCore) -> ApiResult<Self> {
        let text = |name| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default().trim());
        match (text(IF_MATCH), text(IF_NONE_MATCH)) {
            (None, None) => Ok(Self(None)),
            (Some("*"), None) => Ok(Self(Some(MUST_EXIST))),
            (Some(tag), None) => {
                let version = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag).parse::<i64>();
                let version = version.ok().filter(|version| *version > 0);
                version
                    .map(|version| Self(Some(version)))
                    .ok_or_else(|| bad_request("If-Match must be \"*\" or a resourceVersion in quotes"))
            }
            (None, Some("*")) => Ok(Self(Some(MUST_BE_ABSENT))),
            (None, Some(_)) => Err(bad_request("If-None-Match of a write must be \"*\": create only")),
            (Some(_), Some(_)) => Err(bad_request("If-Match and If-None-Match exclude each other")),
        }
    }
}
impl OperationInput for IfMatch {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let text = "A resourceVersion in quotes: refuse with 412 when the object has another one. `*`: refuse when it does not exist.";
        docs::header_parameter(ctx, operation, "If-Match", text);
        docs::header_parameter(ctx, operation, "If-None-Match", "`*`: refuse with 412 when the object exists.");
    }
}

/// Parses a `resourceVersion`.
pub(super) fn version(text: &str) -> ApiResult<i64> {
    text.parse().map_err(|_| bad_request(format!("resourceVersion is a number as read from the object; \"{}\" is not", excerpt(text))))
}

/// A JSON body as it came. `T` only documents its schema: the value is checked by `admission`, which finds
/// all errors at once.
pub(super) struct RawBody<T>(pub(super) Value, pub(super) PhantomData<T>);

/// Like [`RawBody`], but there may be no body.
pub(super) struct OptionalBody<T>(pub(super) Option<Value>, pub(super) PhantomData<T>);

/// A JSON body of a small type.
pub(super) struct TypedBody<T>(pub(super) T);

impl<T: Send> FromRequest<SharedCore> for RawBody<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, core: &SharedCore) -> ApiResult<Self> {
        let value = json(request, core.state.limits.body).await?;
        value.map(|value| Self(value, PhantomData)).ok_or_else(|| bad_request("the body is empty; a JSON document is needed"))
    }
}

impl<T: Send> FromRequest<SharedCore> for OptionalBody<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, core: &SharedCore) -> ApiResult<Self> {
        let value = json(request, core.state.limits.body).await?;
        // Clients that always send a body send `null` for none.
        Ok(Self(value.filter(|value| !value.is_null()), PhantomData))
    }
}

impl<T: DeserializeOwned + Send> FromRequest<SharedCore> for TypedBody<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, core: &SharedCore) -> ApiResult<Self> {
        let RawBody(value, _) = RawBody::<T>::from_request(request, core).await?;
        serde_path_to_error::deserialize(value).map(Self).map_err(|error| {
            let path = error.path().to_string();
            let path = if path == "." { ROOT.to_owned() } else { path };
            ApiError::invalid(vec![FieldError::new(path, error.into_inner().to_string())])
        })
    }
}

/// Reads the body within the limit. `None` when it is empty.
async fn json(request: Request, limit: usize) -> ApiResult<Option<Value>> {
    let (parts, body) = request.into_parts();
    let bytes = read(&parts.headers, body, limit).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if !is_json(parts.headers.get(CONTENT_TYPE)) {
        return Err(ApiError::new(ProblemKind::UnsupportedMediaType, "send the header \"Content-Type: application/json\""));
    }
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| bad_request(format!("the body is not JSON: line {}, column {}: {error}", error.line(), error.column())))
}

async fn read(headers: &HeaderMap, body: Body, limit: usize) -> ApiResult<Bytes> {
    let too_large = || ApiError::new(ProblemKind::PayloadTooLarge, format!("a body may have at most {limit} bytes"));
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut chunks = body.into_data_stream();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| bad_request("the body could not be read to its end"))?;
        if bytes.len().saturating_add(chunk.len()) > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

fn is_json(value: Option<&HeaderValue>) -> bool {
    let essence =
        value.and_then(|value| value.to_str().ok()).map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    essence.is_some_and(|essence| essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")))
}

impl<T: JsonSchema> OperationInput for RawBody<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        docs::body::<T>(ctx, operation, true);
    }
}
impl<T: JsonSchema> OperationInput for OptionalBody<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        docs::body::<T>(ctx, operation, false);
    }
}
impl<T: JsonSchema> OperationInput for TypedBody<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        docs::body::<T>(ctx, operation, true);
    }
}
