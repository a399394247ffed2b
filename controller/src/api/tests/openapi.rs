//! The document: whole, deterministic, and about the routes that exist.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use serde_json::Value;

use super::Harness;
use crate::api::{examples, openapi};

/// Every operation of the document: method, path template, operation.
pub(super) fn operations() -> Vec<(String, String, Value)> {
    let document = openapi::document();
    let paths = document["paths"].as_object().expect("paths").clone();
    let methods = |(path, item): (String, Value)| {
        let operations = item.as_object().expect("a path item").clone();
        operations.into_iter().map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation)).collect::<Vec<_>>()
    };
    paths.into_iter().flat_map(methods).collect()
}

/// A path for a template.
pub(super) fn concrete(template: &str, org: &str) -> String {
    let host = format!("{org}.example.com");
    let name = match template {
        template if template.starts_with("/v1/nodes") => "n1",
        template if template.starts_with("/v1/certificates") => "own",
        _ => "shop",
    };
    let template = if template == "/v1/drafts" { "/v1/drafts?service=shop_web" } else { template };
    template
        .replace("{org}", org)
        .replace("{name}", name)
        .replace("{revision}", "1")
        .replace("{other}", "1")
        .replace("{host}", &host)
        .replace("{key}", "edge.default_domain")
        .replace("{id}", "0198c0de-0000-7000-8000-000000000004")
}

#[test]
fn the_document_is_the_same_every_time_and_on_every_thread() {
    let first = openapi::document().to_string();
    let second = openapi::document().to_string();
    let other = std::thread::spawn(|| openapi::document().to_string()).join().expect("no panic");
    assert_eq!(first, second);
    assert_eq!(first, other);
    let document = openapi::document();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(!first.contains("draft-07"), "schemas are JSON Schema 2020-12");
}

#[test]
fn every_operation_is_named_explained_and_has_an_example() {
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations() {
        let what = format!("{method} {path}");
        for field in ["operationId", "summary", "description"] {
            assert!(operation[field].as_str().is_some_and(|text| !text.is_empty()), "{what} has no {field}");
        }
        assert!(ids.insert(operation["operationId"].to_string()), "{what}: the id is in use");
        assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{what}");
        let responses = operation["responses"].as_object().expect("responses");
        let success: Vec<_> = responses.iter().filter(|(status, _)| status.starts_with('2')).collect();
        assert!(!success.is_empty(), "{what} documents no success");
        for (status, response) in success {
            let content = response["content"].as_object().cloned().unwrap_or_default();
            assert!(status == "204" || content.values().all(|media| media.get("example").is_some()), "{what} {status} has no example");
            assert!(status == "204" || !content.is_empty(), "{what} {status} has no body");
        }
        if let Some(body) = operation.get("requestBody") {
            assert!(body["content"]["application/json"].get("example").is_some(), "{what} has no example of its body");
        }
        if path.starts_with("/v1/") {
            assert_eq!(operation["security"], serde_json::json!([{"bearer": []}]), "{what}");
            assert!(responses["default"]["content"].get("application/problem+json").is_some(), "{what} documents no problem");
        }
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let in_path: BTreeSet<_> =
            parameters.iter().filter(|p| p["in"] == "path").map(|p| format!("{{{}}}", p["name"].as_str().expect("a name"))).collect();
        let in_template: BTreeSet<_> = path.split('/').filter(|part| part.starts_with('{')).map(str::to_owned).collect();
        assert_eq!(in_path, in_template, "{what}");
    }
}

#[test]
fn every_reference_resolves() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(target)) = map.get("$ref") {
                    found.insert(target.clone());
                }
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = openapi::document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for target in found {
        let pointer = target.strip_prefix('#').unwrap_or_else(|| panic!("{target} is not in the document"));
        assert!(document.pointer(pointer).is_some(), "{target} does not resolve");
    }
}

#[tokio::test]
async fn every_documented_operation_is_served() {
    let api = Harness::new().await;
    for (method, path, _) in operations() {
        let answer = api.send(&method, &concrete(&path, "acme"), "root", None).await;
        // Without a body a write is refused, but by the handler, not by the router.
        let router_says_no = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
        let gone_before = answer.status == StatusCode::NOT_FOUND && !answer.text.contains("no route");
        assert!(!router_says_no.contains(&answer.status) || gone_before, "{method} {path}: {} {}", answer.status, answer.text);
    }
}

#[test]
fn every_served_route_is_documented() {
    // Routes come only from `routes/`, and there only `api_route` adds one, which also documents it.
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/routes");
    let mut documented = 0;
    for entry in std::fs::read_dir(source).expect("the folder") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("a source file");
        assert!(!text.contains(".route(") && !text.contains("hidden("), "a route outside the document");
        documented += text.matches(".api_route(").count();
    }
    let paths: BTreeSet<_> = operations().into_iter().map(|(_, path, _)| path).collect();
    assert_eq!(paths.len(), documented);
}

#[test]
fn examples_read_back_as_their_types() {
    fn reads<T: serde::de::DeserializeOwned>(value: Value) {
        serde_json::from_value::<T>(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"));
    }
    for manifest in
        [examples::app_manifest(), examples::organization_manifest(), examples::domain_manifest(), examples::certificate_manifest()]
    {
        api_types::check::check(&manifest).unwrap_or_else(|errors| panic!("{errors:?}"));
    }
    reads::<api_types::App>(examples::app());
    reads::<api_types::App>(examples::app_deleting());
    reads::<api_types::Organization>(examples::organization());
    reads::<api_types::Domain>(examples::domain());
    reads::<api_types::Node>(examples::node());
    reads::<api_types::Setting>(examples::setting());
    reads::<api_types::Certificate>(examples::certificate());
    reads::<api_types::Setting>(examples::setting_default());
    reads::<api_types::SettingSpec>(examples::setting_spec());
    reads::<api_types::api::ApplyRequest>(examples::apply_request());
    reads::<api_types::api::ApplyRequest>(examples::apply_everywhere_request());
    reads::<api_types::api::ApplyResponse>(examples::apply_response());
    reads::<api_types::api::PlanResponse>(examples::plan());
    reads::<api_types::api::ScaleRequest>(examples::scale());
    reads::<api_types::api::List<api_types::event::Event>>(examples::list(examples::event()));
    reads::<api_types::api::RevisionInfo>(examples::revision());
    reads::<api_types::api::RevisionDetail>(examples::revision_detail());
    reads::<api_types::api::RevisionDiff>(examples::revision_diff());
    reads::<api_types::api::RollbackRequest>(examples::rollback());
    reads::<api_types::api::RetryRequest>(examples::retry());
    reads::<api_types::api::RollbackResponse>(examples::rolled_back());
    reads::<api_types::api::LogLine>(examples::log_line());
    reads::<api_types::api::WhoAmI>(examples::whoami());
    reads::<api_types::platform::PlatformStatus>(examples::platform_status());
    reads::<api_types::api::VersionInfo>(examples::version());
    reads::<api_types::api::List<api_types::token::TokenInfo>>(examples::list(examples::token()));
    reads::<api_types::token::TokenRequest>(examples::token_request());
    reads::<api_types::token::TokenCreated>(examples::token_created());
    for health in [examples::healthy(), examples::ready(), examples::unready()] {
        reads::<api_types::api::HealthResponse>(health);
    }
}
