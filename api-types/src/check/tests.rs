//! What people see for what they write, and that nothing can make the check fall over.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::schema_walk::{KEY_LEAVES, LEAVES, PATTERNS};
use super::*;

fn app(spec: Value) -> Value {
    json!({"apiVersion": "skyswarm.dev/v1", "kind": "App", "metadata": {"name": "shop"}, "spec": spec})
}

fn full() -> Value {
    json!({
        "apiVersion": "skyswarm.dev/v1", "kind": "App",
        "metadata": {"name": "shop", "org": "acme", "labels": {"team": "checkout", "a.b/c": "x"}, "resourceVersion": "7"},
        "spec": {
            "image": "registry.example/shop:1.4", "imagePullPolicy": "Always",
            "env": {"LOG_LEVEL": "info"}, "secrets": {"STRIPE_KEY": "hunter2", "KEPT": null},
            "processes": {
                "web": {"port": 8080, "replicas": 2, "resources": {"cpu": "500m", "memory": "256Mi"},
                        "health": {"path": "/healthz", "interval": "5s", "timeout": "1s", "failureThreshold": 3}, "stopGracePeriod": "10s"},
                "worker": {"command": ["bin/worker"], "args": ["-v"], "replicas": 1}
            },
            "domains": ["shop.example.com"],
            "edge": {
                "https": {"redirect": true, "hsts": {"maxAgeDays": 365, "includeSubdomains": true, "preload": true}},
                "basicAuth": {"users": {"ana": {"password": "hunter2"}, "bob": {"password": null}}},
                "allowFrom": ["192.0.2.0/24", "2001:db8::/32"], "maxRequestBody": "50Mi", "sticky": {"cookie": "task"},
                "maintenance": {"enabled": false, "message": "back soon", "retryAfter": "5m"}
            },
            "rollout": {"order": "start-first", "parallelism": 1, "healthWindow": "10s", "progressDeadline": "5m"}
        },
        "status": {"anything": true}
    })
}

fn shown(value: &Value) -> String {
    match check(value) {
        Ok(manifest) => format!("ok: {}", manifest.kind()),
        Err(errors) => errors.iter().map(|error| format!("{error}\n")).collect(),
    }
}

#[test]
fn a_full_manifest_and_a_minimal_one_are_read() {
    assert_eq!(shown(&full()), "ok: App");
    assert_eq!(shown(&app(json!({"image": "nginx", "processes": {"web": {"port": 80}}}))), "ok: App");
    let mut read_back = full();
    read_back["metadata"]["uid"] = json!("not even a uid");
    read_back["metadata"]["generation"] = json!(7);
    read_back["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(shown(&read_back), "ok: App");
    let domain = json!({"apiVersion": "skyswarm.dev/v1", "kind": "Domain", "metadata": {"name": "a.example"}, "spec": {"app": "shop"}});
    assert_eq!(shown(&domain), "ok: Domain");
    let setting = json!({"apiVersion": "skyswarm.dev/v1", "kind": "Setting", "metadata": {"name": "edge.x"}, "spec": {"value": [1]}});
    assert_eq!(shown(&setting), "ok: Setting");
}

#[test]
fn every_error_is_reported_at_once() {
    insta::assert_snapshot!(shown(&json!({
        "apiVersion": "apps/v1", "kind": "App", "metadata": {"name": "Shop", "labels": {"skyswarm.dev/x": "é", "ok": 7}}, "extra": 1,
        "spec": {
            "imagePullPolicy": "always", "port": 8080, "environment": {}, "stop_grace_period": "5s",
            "env": {"PORT": 8080, "BAD-KEY": "x", "RATIO": 0.5, "FLAG": true, "EMPTY": null},
            "secrets": {"TOKEN": 123_456},
            "processes": {
                "Web": {"prot": 80, "port": 0, "replicas": 501},
                "web": {"port": "80", "replicas": -1, "resources": {"cpu": "lots", "memory": 256}, "health": {"path": "healthz"}},
                "cron": {"port": 80.5, "command": "run", "stopGracePeriod": 10},
                "x": null
            },
            "domains": ["Shop.example.com", 5],
            "rollout": {"order": "startFirst"}
        }
    })));
}

#[test]
fn the_head_of_a_document_is_checked_first() {
    let head = |kind: Value| shown(&json!({"apiVersion": "v1", "kind": kind}));
    insta::assert_snapshot!(
        [
            head(json!("app")),
            head(json!("Deployment")),
            head(json!("Node")),
            head(json!(7)),
            shown(&json!({})),
            shown(&json!([1])),
            shown(&json!({"apiVersion": API_VERSION, "kind": "Setting", "metadata": {"name": "X", "org": "acme"}, "spec": {}}))
        ]
        .join("\n")
    );
}

#[test]
fn rules_between_fields_are_checked() {
    insta::assert_snapshot!(shown(&app(json!({
        "image": "nginx",
        "env": {"PORT": "1", "KEY": "a", "KEY_FILE": "b", "NUL": "a\u{0}b"},
        "secrets": {"KEY": "hunter2"},
        "processes": {
            "a": {"port": 1}, "b": {"port": 2, "health": {"path": "/", "interval": "0s", "timeout": "3s", "failureThreshold": 3}},
            "c": {"command": [""], "health": {"path": "/"}}
        },
        "domains": ["a.example", "b.example", "a.example"],
        "rollout": {"healthWindow": "5m", "progressDeadline": "10s"}
    }))));
    insta::assert_snapshot!(shown(&app(json!({"image": "nginx", "processes": {}, "domains": ["a.example"]}))));
    insta::assert_snapshot!(shown(&app(json!({"image": "nginx", "processes": {"w": {}}, "domains": ["a.example"]}))));
}

#[test]
fn limits_hold() {
    let many: serde_json::Map<String, Value> = (0..501).map(|n| (format!("K{n}"), json!("v"))).collect();
    let processes: serde_json::Map<String, Value> = (0..21).map(|n| (format!("p{n}"), json!({}))).collect();
    let domains: Vec<String> = (0..101).map(|n| format!("d{n}.example")).collect();
    let text = shown(&app(json!({"image": "nginx", "env": many, "processes": processes, "domains": domains})));
    for expected in ["at most 500 variables", "at most 20 processes", "at most 100 domains"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    let long = "x".repeat(60 * 1024);
    let values: serde_json::Map<String, Value> = (0..10).map(|n| (format!("K{n}"), json!(long))).collect();
    assert!(shown(&app(json!({"image": "nginx", "env": values, "processes": {"w": {}}}))).contains("at most 524288 bytes"));
}

#[test]
fn a_secret_is_never_repeated_in_a_message() {
    for value in [json!(4_711_000), json!(["4711000"]), json!({"4711000": 4_711_000}), json!(true)] {
        for spec in [
            json!({"image": "a", "processes": {"w": {}}, "secrets": {"KEY": value}}),
            json!({"image": "a", "processes": {"w": {}}, "secrets": value}),
        ] {
            let text = shown(&app(spec)).replace("spec.secrets.4711000", "").replace("\"4711000\" is not", "");
            assert!(!text.contains("4711000") && !text.contains("ok"), "{text}");
        }
    }
}

#[test]
fn scalars_are_shown_as_they_are_written() {
    let value = app(json!({"image": "a", "env": {"V": 1.1}, "processes": {"w": {}}}));
    let errors = check_with_source(&value, &|path| (path == "spec.env.V").then(|| "1.10".to_owned())).expect_err("a number");
    assert_eq!(errors[0].message, "expected a string, found the number 1.10; write \"1.10\"");
}

#[test]
fn paths_move_into_lists() {
    assert_eq!(within("items[2]", "spec.image"), "items[2].spec.image");
    assert_eq!(within("items[2]", ROOT), "items[2]");
    assert_eq!(within("items[2]", &field(ROOT, "a b")), "items[2][\"a b\"]");
}

/// The walker knows a part of JSON Schema; this is the part.
#[test]
fn the_schemas_use_only_keywords_that_are_understood() {
    const KNOWN: &[&str] = &[
        "$ref",
        "$defs",
        "$schema",
        "title",
        "description",
        "type",
        "properties",
        "patternProperties",
        "additionalProperties",
        "required",
        "items",
        "anyOf",
        "oneOf",
        "const",
        "default",
        "examples",
        "format",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "pattern",
        "writeOnly",
    ];
    fn visit(schema: &Value, at: &str) {
        let Some(schema) = schema.as_object() else { return };
        for (keyword, value) in schema {
            assert!(KNOWN.contains(&keyword.as_str()), "{at}: {keyword}");
            match keyword.as_str() {
                "properties" | "$defs" | "patternProperties" => {
                    value.as_object().expect("a map").iter().for_each(|(name, child)| visit(child, &format!("{at}/{name}")));
                }
                "items" => visit(value, at),
                "anyOf" => {
                    let branches = value.as_array().expect("a list");
                    assert!(
                        branches.len() == 2 && branches.iter().any(|b| b == &json!({"type": "null"})),
                        "{at}: anyOf is for options only"
                    );
                    branches.iter().for_each(|branch| visit(branch, at));
                }
                "oneOf" => {
                    assert!(value.as_array().expect("a list").iter().all(|b| b["const"].is_string()), "{at}: oneOf is for words only")
                }
                "pattern" => {
                    let leaf = LEAVES.iter().any(|leaf| at.ends_with(&format!("/{}", leaf.name)));
                    assert!(leaf || PATTERNS.iter().any(|known| value == known.pattern), "{at}: nobody checks {value}");
                }
                _ => {}
            }
        }
    }
    for kind in [Kind::Organization, Kind::App, Kind::Domain, Kind::Setting, Kind::Certificate] {
        visit(&crate::schema::of_kind(kind), kind.as_str());
    }
    assert!(KEY_LEAVES.iter().all(|name| LEAVES.iter().any(|leaf| leaf.name == *name)));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[a-z0-9.:-]{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["App", "Domain", "start-first", "skyswarm.dev/v1", "5s", "500m", "256Mi"]).prop_map(Value::from),
    ];
    let key = prop_oneof![
        ".{0,6}",
        prop::sample::select(vec!["apiVersion", "kind", "metadata", "spec", "name", "image", "processes", "env", "port", "web"])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(key.clone(), inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Pointers to every place of a value.
fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| pointers(v, &format!("{at}/{}", k.replace('~', "~0").replace('/', "~1")), out)),
        Value::Array(list) => list.iter().enumerate().for_each(|(n, v)| pointers(v, &format!("{at}/{n}"), out)),
        _ => {}
    }
}

/// What was found here must be found by the walker or by a rule; the deserialiser has the last word only
/// when the two disagree, and then it names no path.
fn assert_walker_is_complete(value: &Value) -> Result<(), TestCaseError> {
    if let Err(errors) = check(value)
        && value.is_object()
    {
        prop_assert!(!errors.is_empty());
        let unplaced: Vec<_> = errors.iter().filter(|error| error.path == ROOT && !error.message.contains("more errors")).collect();
        prop_assert!(unplaced.is_empty(), "{unplaced:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_json_makes_the_check_fall_over(value in any_json()) {
        assert_walker_is_complete(&value)?;
    }

    #[test]
    fn mutated_manifests_get_errors_with_a_place(
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any_json(), 0..3), 1..4),
    ) {
        let mut value = full();
        for (at, new, how) in mutations {
            let mut all = Vec::new();
            pointers(&value, "", &mut all);
            let pointer = at.get(&all).clone();
            if let Some(place) = value.pointer_mut(&pointer) {
                match (how, place) {
                    (0, Value::Object(map)) => { map.insert(new.to_string().chars().take(9).collect(), new); }
                    (1, Value::Object(map)) => { let first = map.keys().next().cloned(); first.map(|key| map.remove(&key)); }
                    (1, Value::Array(list)) => list.push(new),
                    (_, place) => *place = new,
                }
            }
        }
        assert_walker_is_complete(&value)?;
        // A general validator agrees that what the walker lets through is valid.
        if check(&value).is_ok() {
            let schema = crate::schema::of_kind(check(&value).expect("just checked").kind());
            let cleaned = without_observed(value.as_object().expect("an object"));
            let validator = jsonschema::validator_for(&schema).expect("our own schema");
            let found: Vec<String> = validator.iter_errors(&cleaned).map(|e| e.to_string()).collect();
            prop_assert!(found.is_empty(), "{found:?}");
        }
    }
}

#[test]
fn the_edge_says_where_it_contradicts_itself() {
    let edge = |edge: Value| shown(&app(json!({"image": "a", "processes": {"web": {"port": 80}}, "edge": edge})));
    let cases = [
        json!({"allowFrom": ["10.1.2.3/8", "anywhere"]}),
        json!({"https": {"hsts": {"maxAgeDays": 30, "preload": true}}}),
        json!({"basicAuth": {"users": {}}}),
        json!({"basicAuth": {"users": {"a:b": {"password": "x"}, "ana": {"password": "$2y$12$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC"}, "bob": {"password": 7}}}}),
        json!({"sticky": true, "maxRequestBody": "9Gi", "maintenance": {"message": "a", "html": "b"}}),
    ];
    let mut text: Vec<String> = cases.into_iter().map(edge).collect();
    let grpc = json!({"image": "a", "processes": {"web": {"port": 80, "protocol": "h2c", "health": {"path": "/"}}}, "edge": {"maxRequestBody": "1Mi"}});
    text.push(shown(&app(grpc)));
    text.push(shown(&app(json!({"image": "a", "processes": {"worker": {"protocol": "grpc"}}, "edge": {"sticky": {}}}))));
    insta::assert_snapshot!(text.join("\n"));
}
