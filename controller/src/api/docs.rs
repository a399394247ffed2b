//! Small helpers that write into the OpenAPI document.

use aide::generate::GenContext;
use aide::openapi::{
    HeaderStyle, MediaType, Operation, Parameter, ParameterData, ParameterSchemaOrContent, PathStyle, ReferenceOr, RequestBody, Response,
    SchemaObject, StatusCode,
};
use aide::operation::{add_parameters, set_body};
use aide::transform::TransformOperation;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use super::auth::SCHEME;

/// The groups in which routes are shown.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tag {
    Apply,
    Apps,
    Domains,
    Organizations,
    Tokens,
    Platform,
    Server,
}

impl Tag {
    pub(super) const ALL: [(Self, &'static str); 7] = [
        (Self::Apply, "Several objects at once, all or none."),
        (Self::Apps, "Apps: desired state, status, scale, plans, logs, events and revisions."),
        (Self::Domains, "Host names that go to apps."),
        (Self::Organizations, "Tenants."),
        (Self::Tokens, "What lets people and programs in; for administrators."),
        (Self::Platform, "Nodes, settings and certificates; for platform tokens."),
        (Self::Server, "The server itself: health, metrics, version, this document."),
    ];
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Apps => "apps",
            Self::Domains => "domains",
            Self::Organizations => "organizations",
            Self::Tokens => "tokens",
            Self::Platform => "platform",
            Self::Server => "server",
        }
    }
}

/// Names and explains an operation.
pub(super) fn describe<'t>(op: TransformOperation<'t>, tag: Tag, id: &str, summary: &str, text: &str) -> TransformOperation<'t> {
    op.id(id).tag(tag.word()).summary(summary).description(text)
}

/// Adds examples to an operation.
pub(super) trait Examples {
    /// Of the request's body.
    fn request_example(self, example: Value) -> Self;
    /// Of the answer with this status.
    fn answer_example(self, status: u16, example: Value) -> Self;
}

impl Examples for TransformOperation<'_> {
    fn request_example(mut self, example: Value) -> Self {
        if let Some(ReferenceOr::Item(body)) = &mut self.inner_mut().request_body {
            for media in body.content.values_mut() {
                media.example = Some(example.clone());
            }
        }
        self
    }
    fn answer_example(mut self, status: u16, example: Value) -> Self {
        let responses = self.inner_mut().responses.get_or_insert_default();
        if let Some(ReferenceOr::Item(response)) = responses.responses.get_mut(&StatusCode::Code(status)) {
            for media in response.content.values_mut() {
                // A stream has one of its own.
                media.example.get_or_insert_with(|| example.clone());
            }
        }
        self
    }
}

/// Says that the operation needs a token.
pub(super) fn secure(operation: &mut Operation) {
    operation.security = vec![[(SCHEME.to_owned(), Vec::new())].into_iter().collect()];
}

fn schema_object(json_schema: Schema) -> SchemaObject {
    SchemaObject { json_schema, external_docs: None, example: None }
}

fn parameter_data(name: &str, description: &str, required: bool, schema: Schema) -> ParameterData {
    ParameterData {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        required,
        deprecated: None,
        format: ParameterSchemaOrContent::Schema(schema_object(schema)),
        example: None,
        examples: Default::default(),
        explode: None,
        extensions: Default::default(),
    }
}

/// Adds a parameter of the path.
pub(super) fn path_parameter<T: JsonSchema>(ctx: &mut GenContext, operation: &mut Operation, name: &str, description: &str) {
    let schema = ctx.schema.subschema_for::<T>();
    let parameter = Parameter::Path { parameter_data: parameter_data(name, description, true, schema), style: PathStyle::Simple };
    add_parameters(ctx, operation, [parameter]);
}

/// Adds an optional header.
pub(super) fn header_parameter(ctx: &mut GenContext, operation: &mut Operation, name: &str, description: &str) {
    let schema = ctx.schema.subschema_for::<String>();
    let parameter = Parameter::Header { parameter_data: parameter_data(name, description, false, schema), style: HeaderStyle::Simple };
    add_parameters(ctx, operation, [parameter]);
}

/// Sets the JSON body.
pub(super) fn body<T: JsonSchema>(ctx: &mut GenContext, operation: &mut Operation, required: bool) {
    let schema = Some(schema_object(ctx.schema.subschema_for::<T>()));
    let mut body = RequestBody { required, ..RequestBody::default() };
    body.content.insert("application/json".to_owned(), MediaType { schema, ..MediaType::default() });
    set_body(ctx, operation, body);
}

/// A response of one media type.
pub(super) fn response(description: &str, media_type: &str, schema: Option<Schema>) -> Response {
    let mut response = Response { description: description.to_owned(), ..Response::default() };
    response.content.insert(media_type.to_owned(), MediaType { schema: schema.map(schema_object), ..MediaType::default() });
    response
}

/// Says that success is answered with another status than 200.
pub(super) fn answers(mut op: TransformOperation<'_>, status: u16) -> TransformOperation<'_> {
    let responses = op.inner_mut().responses.get_or_insert_default();
    if let Some(found) = responses.responses.shift_remove(&StatusCode::Code(200)) {
        responses.responses.insert(StatusCode::Code(status), found);
    }
    op
}

/// Adds a response to an operation.
pub(super) fn add_response(operation: &mut Operation, status: u16, response: Response) {
    operation.responses.get_or_insert_default().responses.insert(StatusCode::Code(status), ReferenceOr::Item(response));
}
