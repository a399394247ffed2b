//! Why an app is as it is, through the whole router: who may ask, where the log comes from, and that the answer
//! does not need it.

use std::time::Duration;

use api_types::kinds::app::{AppStatus, Verdict, VerdictPhase};
use api_types::platform::{PartState, ProcessReport};
use api_types::why::{Case, LogExcerpt, Why, Witness};
use api_types::{Condition, ConditionStatus, ConditionType, Reason};
use axum::http::StatusCode;
use serde_json::json;

use super::{Harness, start};

fn witness(task: &str) -> Witness {
    Witness {
        process: "web".to_owned(),
        slot: 1,
        task: task.to_owned(),
        node: Some("n1".to_owned()),
        state: "failed".to_owned(),
        message: "it ended with exit code 3".to_owned(),
        reason: None,
        exit_code: Some(3),
        since: start(),
        log: None,
    }
}

fn told(kind: ConditionType, reason: Reason) -> Condition {
    let (status, message) = (ConditionStatus::False, "task web.1 exited with code 3".to_owned());
    Condition { kind, status, reason, message, observed_generation: 1, last_transition_time: start() }
}

async fn ask(api: &Harness, token: &str) -> Why {
    let answer = api.get("/v1/orgs/acme/apps/shop/why", token).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    serde_json::from_str(&answer.text).expect("an answer")
}

/// A leader that reports, and the app `shop` of `acme` with a crash that a task shows.
async fn crashed(task: &str) -> Harness {
    let api = Harness::new().await;
    let report = ProcessReport {
        roles: vec!["controller".to_owned()],
        host: "secret-host".to_owned(),
        version: "1".to_owned(),
        engine: Some(PartState { ok: true, detail: "fine".to_owned() }),
        edge: None,
        queue: None,
    };
    // The lease's holder is called so, see the harness.
    api.store().heartbeat_put("test", start(), &report).await.expect("written");
    let record =
        api.store().app_get(&"acme".parse().expect("a name"), &"shop".parse().expect("a name")).await.expect("reads").expect("is there");
    let conditions = vec![told(ConditionType::Ready, Reason::CrashLoop), told(ConditionType::Healthy, Reason::CrashLoop)];
    let status = AppStatus { observed_generation: 1, conditions, ..AppStatus::default() };
    api.store().app_status_put(record.uid, &status, record.desired_version, api.epoch).await.expect("written");
    api.store().observation_put(record.uid, &json!({"witness": witness(task)}), api.epoch).await.expect("written");
    api
}

#[tokio::test]
async fn whoever_may_see_the_app_is_told_and_nobody_else() {
    let api = crashed("t1").await;
    let why = ask(&api, "acme-viewer").await;
    assert_eq!((why.case, why.ready, why.node.as_deref()), (Case::Crash, ConditionStatus::False, Some("n1")));
    assert_eq!(why.log.expect("a log").lines, ["line 1 of shop", "line 2 of shop"]);
    let query = api.logs.queries.lock().expect("not poisoned").last().cloned().expect("asked");
    assert_eq!((query.task.as_deref(), query.follow), (Some("t1"), false), "only the task that shows the cause");
    for (path, token) in [("/v1/orgs/acme/apps/shop/why", "rival-admin"), ("/v1/orgs/acme/apps/none/why", "acme-viewer")] {
        assert_eq!(api.get(path, token).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn an_engine_that_has_no_log_does_not_keep_the_answer_back() {
    for (task, words) in [("broken", "logs cannot be read now: the engine does not answer"), ("hangs", "could not be read within 3 s")] {
        let api = crashed(task).await;
        let begun = std::time::Instant::now();
        let why = ask(&api, "acme-viewer").await;
        assert!(begun.elapsed() < Duration::from_secs(8), "{task}");
        assert_eq!(why.case, Case::Crash);
        let log = why.log.expect("a log");
        assert!(log.lines.is_empty() && log.missing.as_deref().is_some_and(|missing| missing.contains(words)), "{log:?}");
    }
}

#[tokio::test]
async fn what_was_kept_of_a_failed_revision_is_shown_when_the_engine_has_forgotten_it() {
    let api = crashed("t1").await;
    let store = api.store();
    let (org, name) = ("acme".parse().expect("a name"), "shop".parse().expect("a name"));
    let record = store.app_get(&org, &name).await.expect("reads").expect("is there");
    let verdict = Verdict {
        phase: VerdictPhase::Failed,
        reason: Some(Reason::CrashLoop),
        cause: None,
        message: Some("task web.1 exited with code 3".to_owned()),
        time: start(),
    };
    store.revision_verdict_put(record.uid, 1, &verdict, api.epoch).await.expect("written");
    let log = LogExcerpt { replica: "web.1".to_owned(), lines: vec!["the last words".to_owned()], missing: None };
    let kept = Witness { log: Some(log), ..witness("gone") };
    store.revision_failure_put(record.uid, 1, &kept, api.epoch).await.expect("written");
    assert_eq!(store.revision_failure_get(record.uid, 1).await.expect("reads"), Some(kept));
    let why = ask(&api, "acme-viewer").await;
    assert_eq!(why.log.expect("a log").lines, ["the last words"]);
    assert!(api.logs.queries.lock().expect("not poisoned").is_empty(), "the engine was asked for what it has forgotten");
}

#[tokio::test]
async fn a_change_that_waits_is_told_its_place() {
    let api = crashed("t1").await;
    for (org, image) in [("rival", "a:2"), ("acme", "a:3")] {
        api.store_clock.advance(Duration::from_secs(5));
        let spec = json!({"spec": {"image": image}});
        let path = format!("/v1/orgs/{org}/apps/shop");
        let request = axum::http::Request::builder().method("PATCH").uri(&path);
        let request = request.header("Authorization", api.bearer("root")).header("Content-Type", "application/merge-patch+json");
        let answer = api.raw(request.body(axum::body::Body::from(spec.to_string())).expect("a request")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    let why = ask(&api, "acme-viewer").await;
    assert_eq!((why.case, why.ready), (Case::Queued, ConditionStatus::Unknown));
    assert!(why.summary.contains("1 older change is before it"), "{}", why.summary);
}
