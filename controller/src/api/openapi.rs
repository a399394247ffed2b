//! The OpenAPI 3.1 document, made from the same routes and types that serve.

use aide::axum::ApiRouter;
use aide::generate;
use aide::openapi::{Info, License, OpenApi, SecurityScheme, Tag as DocTag};
use axum::Router;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::auth::SCHEME;
use super::docs::Tag;
use super::routes;
use super::state::SharedCore;

const DESCRIPTION: &str = "Desired state goes in, observed state comes out.\n\n\
    Every write is idempotent. A write with `metadata.resourceVersion` is refused with 409, one with `If-Match` with 412, when the \
    object changed since. Requests are limited per token: `RateLimit-*` headers tell what is left, 429 with `Retry-After` that nothing is. Every failure is a problem document (`application/problem+json`). A token that is limited to an organization gets, for \
    every other one, the answer for one that does not exist.";

/// The document as JSON. Needs no server and no database; equal for equal sources.
pub fn document() -> Value {
    let (_, document) = build();
    // The model serialises: it holds maps with string keys, strings and JSON values.
    serde_json::to_value(document).unwrap_or(Value::Null)
}

/// The routes, and their document.
pub(super) fn build() -> (Router<SharedCore>, OpenApi) {
    // The generator is a thread-local; what another caller on this thread left must not show here.
    generate::reset_context();
    generate::in_context(|ctx| {
        // OpenAPI 3.1 schemas are JSON Schema 2020-12; the generator's default is draft 7.
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.meta_schema = None;
            settings.definitions_path = "/components/schemas".into();
        });
        ctx.schema = settings.into_generator();
    });
    let mut document = OpenApi {
        info: Info {
            title: "Skyswarm".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: Some(DESCRIPTION.to_owned()),
            license: Some(License { name: "Apache-2.0".to_owned(), identifier: Some("Apache-2.0".to_owned()), ..License::default() }),
            ..Info::default()
        },
        ..OpenApi::default()
    };
    let routes: ApiRouter<SharedCore> = routes::all();
    let router = routes.finish_api_with(&mut document, |mut api| {
        let scheme = SecurityScheme::Http {
            scheme: "bearer".to_owned(),
            bearer_format: Some("sky_…".to_owned()),
            description: Some("A token of an organization or of the platform, with the role viewer, member or admin.".to_owned()),
            extensions: Default::default(),
        };
        for (tag, text) in Tag::ALL {
            api = api.tag(DocTag { name: tag.word().to_owned(), description: Some(text.to_owned()), ..DocTag::default() });
        }
        api.security_scheme(SCHEME, scheme)
    });
    (router, document)
}
