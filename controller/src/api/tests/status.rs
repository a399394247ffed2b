//! The platform at a glance, for those who may see all of it and for those who may not.

use api_types::platform::{PartState, PlatformStatus, ProcessReport};
use axum::http::StatusCode;

use super::{Harness, start};

#[tokio::test]
async fn a_platform_token_sees_the_processes_and_a_limited_one_only_its_own_apps() {
    let api = Harness::new().await;
    let status = |token: &'static str| {
        let api = &api;
        async move {
            let answer = api.get("/v1/status", token).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
            serde_json::from_str::<PlatformStatus>(&answer.text).expect("a status")
        }
    };
    // The lease is held, but by nobody who reports.
    let before = status("platform-viewer").await;
    assert_eq!((before.healthy, before.apps.total, before.apps.unknown), (false, 2, 2));
    assert_eq!(before.problems, ["no controller runs, so nothing that is changed is carried out"]);

    let report = ProcessReport {
        roles: vec!["controller".to_owned()],
        host: "secret-host".to_owned(),
        version: "1".to_owned(),
        engine: Some(PartState { ok: false, detail: "no answer from secret-host".to_owned() }),
        edge: None,
        queue: None,
    };
    api.store().heartbeat_put("test", start(), &report).await.expect("written");
    let all = status("platform-viewer").await;
    assert_eq!((all.processes.len(), all.processes[0].epoch), (1, Some(api.epoch)));
    assert_eq!(all.problems, ["the engine of secret-host cannot be used: no answer from secret-host"]);
    assert_eq!(all.oldest_unreconciled.map(|oldest| oldest.org), Some("acme".to_owned()));

    let own = status("acme-viewer").await;
    assert_eq!((own.processes.len(), own.apps.total, own.not_ready.len()), (0, 1, 1));
    assert!(!own.healthy && !format!("{own:?}").contains("secret-host"), "{own:?}");
    assert!(own.not_ready.iter().all(|app| app.org == "acme"));
}
