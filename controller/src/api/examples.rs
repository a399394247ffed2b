//! Examples of the OpenAPI document. A test reads each back as its type, so that none can go stale.

use serde_json::{Value, json};

pub(super) fn list(item: Value) -> Value {
    json!({"metadata": {}, "items": [item]})
}

pub(super) fn healthy() -> Value {
    json!({"ok": true, "checks": {}})
}
pub(super) fn ready() -> Value {
    json!({"ok": true, "checks": {"database": "ok"}})
}
pub(super) fn unready() -> Value {
    json!({"ok": false, "checks": {"database": "the database does not answer"}})
}
pub(super) fn metrics() -> Value {
    json!("# HELP skyswarm_leader 1 while this process leads.\n# TYPE skyswarm_leader gauge\nskyswarm_leader 1\n")
}
pub(super) fn document_head() -> Value {
    json!({"openapi": "3.1.0", "info": {"title": "Skyswarm", "version": env!("CARGO_PKG_VERSION")}, "paths": {}})
}
pub(super) fn version() -> Value {
    json!({"version": env!("CARGO_PKG_VERSION"), "apiVersions": ["skyswarm.dev/v1"]})
}
pub(super) fn whoami() -> Value {
    json!({"name": "ci", "org": "acme", "role": "member", "id": "0198c0de-0000-7000-8000-000000000004", "expiresAt": "2026-05-01T12:00:00Z"})
}

pub(super) fn token_request() -> Value {
    json!({"name": "ci", "role": "member", "expiresIn": "90d"})
}
pub(super) fn token() -> Value {
    json!({
        "id": "0198c0de-0000-7000-8000-000000000004", "name": "ci", "org": "acme", "role": "member",
        "createdAt": "2026-01-31T12:00:00Z", "createdBy": "admin", "expiresAt": "2026-05-01T12:00:00Z",
        "lastUsedAt": "2026-02-01T09:30:00Z", "expired": false,
    })
}
pub(super) fn token_created() -> Value {
    let mut info = token();
    if let Some(info) = info.as_object_mut() {
        info.remove("lastUsedAt");
    }
    json!({"token": "sky_…", "info": info})
}

pub(super) fn drafts() -> Value {
    json!({
        "drafts": [{
            "services": ["shop_web"],
            "manifest": {
                "apiVersion": "skyswarm.dev/v1", "kind": "App", "metadata": {"name": "shop"},
                "spec": {"image": "acme/shop:1", "processes": {"web": {"adopt": {"service": "shop_web"}, "port": 8080, "replicas": 2}}},
            },
            "notes": [{"path": "services.shop_web.constraints", "message": "node.role==worker: the platform chooses nodes"}],
        }],
        "notes": [],
    })
}

pub(super) fn platform_status() -> Value {
    json!({
        "healthy": true, "problems": [],
        "processes": [{
            "id": "n1-812-0198c0de00007000800000000000000a", "startedAt": "2026-01-31T11:00:00Z", "heartbeatAt": "2026-01-31T12:00:18Z",
            "stale": false, "epoch": 7, "roles": ["api", "controller", "edge"], "host": "n1", "version": env!("CARGO_PKG_VERSION"),
            "engine": {"ok": true, "detail": "Docker Engine 28.5.2, a Swarm manager"},
            "edge": {"ok": true, "detail": "Traefik runs the current document"},
            "queue": {"due": 0, "scheduled": 1, "running": 1, "resyncSeconds": 12},
        }],
        "apps": {"total": 12, "ready": 11, "notReady": 1, "unknown": 0, "unreconciled": 0},
        "notReady": [{
            "org": "acme", "name": "shop", "reason": "RolloutFailed", "since": "2026-01-31T11:58:00Z",
            "message": "generation 4 failed: task web.1 on node n1 exited with code 1; generation 3 is kept instead",
        }],
        "failuresLastHour": 1,
        "time": "2026-01-31T12:00:20Z",
    })
}

pub(super) fn why() -> Value {
    json!({
        "org": "acme", "name": "shop", "generation": 4, "ready": "False", "case": "crash",
        "summary": "task web.1 on node n1 ends instead of running: it ended with exit code 1. Generation 3 answers meanwhile",
        "since": "2026-01-31T11:58:00Z", "node": "n1", "servingGeneration": 3,
        "chain": [
            {
                "about": "Ready", "status": "False", "reason": "RolloutFailed", "since": "2026-01-31T11:58:00Z",
                "message": "generation 4 failed: task web.1 on node n1 exited with code 1; generation 3 is kept instead",
            },
            {"about": "task web.1", "message": "it ended with exit code 1", "since": "2026-01-31T11:58:00Z", "node": "n1"},
        ],
        "log": {"replica": "web.1", "lines": ["cannot connect to db:5432"]},
        "next": [{"text": "or go back to it", "command": "skyctl rollback app/shop --to 3"}],
        "see": "docs/troubleshooting.md#crash",
        "time": "2026-01-31T12:00:20Z",
    })
}

pub(super) fn organization_manifest() -> Value {
    json!({
        "apiVersion": "skyswarm.dev/v1", "kind": "Organization", "metadata": {"name": "acme"},
        "spec": {"displayName": "Acme Ltd"},
    })
}
pub(super) fn organization() -> Value {
    json!({
        "apiVersion": "skyswarm.dev/v1", "kind": "Organization",
        "metadata": {"name": "acme", "uid": "0198c0de-0000-7000-8000-000000000001", "resourceVersion": "3", "creationTimestamp": "2026-01-31T12:00:00Z"},
        "spec": {"displayName": "Acme Ltd"},
        "status": {"apps": 1},
    })
}

pub(super) fn app_manifest() -> Value {
    json!({
        "apiVersion": "skyswarm.dev/v1", "kind": "App", "metadata": {"name": "shop"},
        "spec": {
            "image": "registry.example/shop:1.4",
            "env": {"LOG_LEVEL": "info"},
            "secrets": {"STRIPE_KEY": "sk_live_…"},
            "processes": {"web": {"port": 8080, "replicas": 2, "health": {"path": "/healthz"}}, "worker": {"command": ["bin/worker"]}},
            "domains": ["shop.example.com"],
        },
    })
}
pub(super) fn app() -> Value {
    json!({
        "apiVersion": "skyswarm.dev/v1", "kind": "App",
        "metadata": {
            "name": "shop", "org": "acme", "uid": "0198c0de-0000-7000-8000-000000000002", "generation": 4, "resourceVersion": "17",
            "labels": {"team": "core"}, "creationTimestamp": "2026-01-31T12:00:00Z",
        },
        "spec": {
            "image": "registry.example/shop:1.4",
            "env": {"LOG_LEVEL": "info"},
            "secrets": {"STRIPE_KEY": null},
            "processes": {
                "web": {"port": 8080, "replicas": 2, "health": {"path": "/healthz", "interval": "5s", "timeout": "2s", "failureThreshold": 3}, "stopGracePeriod": "10s"},
                "worker": {"command": ["bin/worker"], "replicas": 1, "stopGracePeriod": "10s"},
            },
            "domains": ["shop.example.com"],
            "rollout": {"order": "start-first", "parallelism": 1, "healthWindow": "10s", "progressDeadline": "5m"},
        },
        "status": {
            "observedGeneration": 4,
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "Serving", "message": "generation 4 answers at http://shop-acme.apps.example.com",
                "observedGeneration": 4, "lastTransitionTime": "2026-01-31T12:00:20Z",
            }],
            "servingGeneration": 4,
            "serving": [{"generation": 4, "tasks": 2}],
            "provenGeneration": 4,
            "verdict": {"phase": "Ready", "time": "2026-01-31T12:00:20Z"},
            "processes": {"web": {"desired": 2, "running": 2, "updated": 2, "ready": 2}, "worker": {"desired": 1, "running": 1, "updated": 1, "ready": 1}},
            "urls": ["http://shop-acme.apps.example.com", "http://shop.example.com"],
        },
    })
}
pub(super) fn app_patch() -> Value {
    json!({"spec": {"env": {"LOG_LEVEL": "debug", "OLD": null}}})
}
pub(super) fn restart() -> Value {
    json!({"processes": ["web"]})
}
pub(super) fn app_deleting() -> Value {
    let mut app = app();
    if let Some(metadata) = app.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("deletionTimestamp".to_owned(), json!("2026-02-01T09:30:00Z"));
        metadata.insert("finalizers".to_owned(), json!(["skyswarm.dev/swarm"]));
    }
    app
}

pub(super) fn apply_request() -> Value {
    json!({"items": [app_manifest(), domain_manifest()]})
}
pub(super) fn apply_everywhere_request() -> Value {
    let mut app = app_manifest();
    if let Some(metadata) = app.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("org".to_owned(), json!("acme"));
    }
    json!({"items": [organization_manifest(), app]})
}
pub(super) fn apply_response() -> Value {
    json!({
        "results": [
            {"kind": "App", "org": "acme", "name": "shop", "action": "configured", "generation": 4, "resourceVersion": "17"},
            {"kind": "Domain", "org": "acme", "name": "www.shop.example.com", "action": "created", "generation": 0, "resourceVersion": "18"},
        ],
        "dryRun": false,
    })
}
pub(super) fn plan() -> Value {
    json!({
        "name": "shop", "action": "configured", "observedAt": "2026-01-31T12:00:20Z",
        "changes": [{"path": "spec.image", "before": "registry.example/shop:1.3", "after": "registry.example/shop:1.4"}],
        "steps": [
            {"action": "CreateService", "description": "create service shop-c0de0002-web-1a2b3c4 with 1 replica"},
            {"action": "ScaleService", "description": "scale service shop-c0de0002-web-9f8e7d6 from 2 to 1"},
        ],
    })
}
pub(super) fn scale() -> Value {
    json!({"processes": {"web": 3, "worker": 1}, "resourceVersion": "17"})
}
pub(super) fn event() -> Value {
    json!({
        "id": 42, "kind": "App", "name": "shop", "type": "Normal", "reason": "CreateService", "message": "created service shop-c0de0002-web-1a2b3c4",
        "generation": 4, "count": 1, "firstSeen": "2026-01-31T12:00:02Z", "lastSeen": "2026-01-31T12:00:02Z",
    })
}
pub(super) fn revision() -> Value {
    json!({
        "generation": 4, "author": "ci", "source": "apply", "client": "skyctl/0.1.0", "summary": "image registry.example/shop:1.3 → registry.example/shop:1.4",
        "superseded": false, "serving": true, "time": "2026-01-31T12:00:00Z",
        "verdict": {"phase": "Ready", "time": "2026-01-31T12:00:20Z"},
        "image": "registry.example/shop:1.4",
        "resolvedImage": "registry.example/shop@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    })
}
pub(super) fn revision_detail() -> Value {
    let mut manifest = app_manifest();
    if let Some(secrets) = manifest.pointer_mut("/spec/secrets") {
        *secrets = json!({"STRIPE_KEY": null});
    }
    json!({"revision": revision(), "manifest": manifest})
}
pub(super) fn revision_diff() -> Value {
    json!({
        "name": "shop", "from": 3, "to": 4,
        "changes": [
            {"path": "spec.image", "before": "registry.example/shop:1.3", "after": "registry.example/shop:1.4"},
            {"path": "spec.secrets.STRIPE_KEY", "before": "version 1", "after": "version 2"},
        ],
    })
}
pub(super) fn rollback() -> Value {
    json!({"to": 3})
}
pub(super) fn retry() -> Value {
    json!({})
}
pub(super) fn rolled_back() -> Value {
    json!({
        "name": "shop", "basedOn": 3, "action": "configured", "generation": 5,
        "changes": [{"path": "spec.image", "before": "registry.example/shop:1.4", "after": "registry.example/shop:1.3"}],
        "steps": [{"action": "CreateService", "description": "create service web: 1 of 2 replicas of registry.example/shop:1.3"}],
        "dryRun": false,
    })
}
pub(super) fn pause_request() -> Value {
    json!({"for": "2h", "because": "we look at the database"})
}
pub(super) fn pause() -> Value {
    json!({
        "paused": true, "by": "ada", "because": "we look at the database",
        "since": "2026-01-31T12:00:00Z", "until": "2026-01-31T14:00:00Z",
    })
}
pub(super) fn no_pause() -> Value {
    json!({"paused": false})
}
pub(super) fn usage() -> Value {
    json!({
        "measuredAt": "2026-01-31T12:00:05Z", "node": "node-1",
        "tasks": [
            {"app": "shop", "process": "web", "replica": "web.1", "node": "node-1", "cpuMillis": 120, "memoryBytes": 67_108_864},
            {"app": "shop", "process": "web", "replica": "web.2", "node": "node-2"},
        ],
    })
}
pub(super) fn drift() -> Value {
    json!({
        "id": 7, "app": "shop", "kind": "service", "object": "shop-c0de0002-web-1a2b3c4", "field": "replicas", "desired": "2", "observed": "5",
        "action": "Corrected", "firstSeen": "2026-01-31T12:00:00Z", "lastSeen": "2026-01-31T12:00:00Z", "endedAt": "2026-01-31T12:00:00Z",
        "controller": "n1",
    })
}
pub(super) fn log_line() -> Value {
    json!({"time": "2026-01-31T12:00:05Z", "process": "web", "replica": "web.2", "stream": "stdout", "line": "listening on 8080"})
}

pub(super) fn domain_manifest() -> Value {
    json!({"apiVersion": "skyswarm.dev/v1", "kind": "Domain", "metadata": {"name": "www.shop.example.com"}, "spec": {"app": "shop"}})
}
pub(super) fn domain() -> Value {
    json!({
        "apiVersion": "skyswarm.dev/v1", "kind": "Domain",
        "metadata": {"name": "www.shop.example.com", "org": "acme", "uid": "0198c0de-0000-7000-8000-000000000003", "resourceVersion": "18"},
        "spec": {"app": "shop"},
        "status": {"conditions": []},
    })
}

pub(super) fn node() -> Value {
    json!({
        "apiVersion": "skyswarm.dev/v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": {},
        "status": {
            "id": "x2o0i1kzq9", "role": "manager", "availability": "active", "state": "ready", "leader": true, "address": "192.0.2.10",
            "engineVersion": "28.5.2", "cpuMillis": 4000, "memoryBytes": 8_589_934_592_i64, "conditions": [], "observedAt": "2026-01-31T12:00:20Z",
        },
    })
}

pub(super) fn certificate_manifest() -> Value {
    json!({
        "apiVersion": "skyswarm.dev/v1", "kind": "Certificate", "metadata": {"name": "example-com"},
        "spec": {
            "chain": "-----BEGIN CERTIFICATE-----\nMIIB…\n-----END CERTIFICATE-----\n",
            "privateKey": "-----BEGIN PRIVATE KEY-----\nMIGH…\n-----END PRIVATE KEY-----\n",
        },
    })
}
pub(super) fn certificate() -> Value {
    json!({
        "apiVersion": "skyswarm.dev/v1", "kind": "Certificate",
        "metadata": {"name": "example-com", "uid": "0198c0de-0000-7000-8000-000000000005", "generation": 2, "resourceVersion": "19"},
        "spec": {"chain": "-----BEGIN CERTIFICATE-----\nMIIB…\n-----END CERTIFICATE-----\n"},
        "status": {
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "CertificateServed", "message": "clients of *.example.com get this certificate",
                "observedGeneration": 2, "lastTransitionTime": "2026-01-31T12:00:00Z",
            }],
            "dnsNames": ["*.example.com"], "subject": "CN=example.com", "issuer": "CN=Example CA",
            "fingerprint": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "notBefore": "2026-01-01T00:00:00Z", "notAfter": "2027-01-01T00:00:00Z",
        },
    })
}

pub(super) fn setting_spec() -> Value {
    json!({"value": "apps.example.com"})
}
pub(super) fn setting() -> Value {
    json!({
        "apiVersion": "skyswarm.dev/v1", "kind": "Setting", "metadata": {"name": "edge.default_domain", "resourceVersion": "5"},
        "spec": {"value": "apps.example.com"},
        "status": {"description": "Domain under which every app gets a name of its own.", "valueType": "host", "default": "apps.localhost", "isDefault": false},
    })
}
pub(super) fn setting_default() -> Value {
    json!({
        "apiVersion": "skyswarm.dev/v1", "kind": "Setting", "metadata": {"name": "edge.default_domain"},
        "spec": {"value": "apps.localhost"},
        "status": {"description": "Domain under which every app gets a name of its own.", "valueType": "host", "default": "apps.localhost", "isDefault": true},
    })
}

/// A watch of domains, as it comes over the wire.
pub(super) const WATCH: &str = "retry: 1000\n\n\
    event: BOOKMARK\nid: w4711\ndata: {\"type\":\"BOOKMARK\",\"object\":{\"resourceVersion\":\"w4711\",\"initialEventsEnd\":true}}\n\n\
    event: DELETED\nid: w4713\ndata: {\"type\":\"DELETED\",\"object\":{\"apiVersion\":\"skyswarm.dev/v1\",\"kind\":\"Domain\",\
    \"metadata\":{\"name\":\"www.example.com\",\"org\":\"acme\"}}}\n\n";

pub(super) fn join_token_request() -> Value {
    json!({"expiresIn": "1h"})
}

pub(super) fn join_token() -> Value {
    json!({
        "token": "skyjoin_8f0c…_51d2…",
        "server": "10.0.0.5:7071",
        "expiresAt": "2026-11-01T13:00:00Z",
    })
}
