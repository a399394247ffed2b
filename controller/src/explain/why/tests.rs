//! Each case as a value: from what is stored to the sentence.

use api_types::kinds::app::Verdict;
use api_types::platform::{PartState, ProcessReport, QueueState};
use api_types::{ObjectMeta, Reason};
use chrono::TimeDelta;

use super::*;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_770_000_000, 0).expect("a time")
}

fn spec(more: &str) -> AppSpec {
    serde_json::from_str(&format!(
        r#"{{"image": "shop:2", "processes": {{"web": {{"port": 8080, "resources": {{"memory": "4096Gi", "cpu": "1"}}}}}}{more}}}"#
    ))
    .expect("a spec")
}

fn leader(engine_ok: bool) -> ServerProcess {
    ServerProcess {
        id: "n1".to_owned(),
        started_at: now() - TimeDelta::hours(1),
        heartbeat_at: now() - TimeDelta::seconds(2),
        stale: false,
        epoch: Some(3),
        report: ProcessReport {
            roles: vec!["controller".to_owned()],
            host: "n1".to_owned(),
            version: "0.1.0".to_owned(),
            engine: Some(PartState { ok: engine_ok, detail: "connection refused".to_owned() }),
            edge: None,
            queue: Some(QueueState { due: 2, running: 4, ..QueueState::default() }),
        },
    }
}

fn told(kind: ConditionType, status: ConditionStatus, reason: Reason, message: &str) -> Condition {
    let last_transition_time = now() - TimeDelta::minutes(3);
    Condition { kind, status, reason, message: message.to_owned(), observed_generation: 2, last_transition_time }
}

fn verdict(reason: Reason, cause: Option<Reason>, message: &str) -> Option<Verdict> {
    Some(Verdict { phase: VerdictPhase::Failed, reason: Some(reason), cause, message: Some(message.to_owned()), time: now() })
}

fn witness() -> Witness {
    Witness {
        process: "web".to_owned(),
        slot: 1,
        task: "t1".to_owned(),
        node: Some("n1".to_owned()),
        state: "failed".to_owned(),
        message: "it ended with exit code 1: task: non-zero exit (1)".to_owned(),
        reason: None,
        exit_code: Some(1),
        since: now() - TimeDelta::minutes(4),
        log: None,
    }
}

struct Scene {
    status: AppStatus,
    processes: Vec<ServerProcess>,
    witness: Option<Witness>,
    nodes: Vec<Node>,
    deleting: bool,
    platform: bool,
}

impl Scene {
    fn new(conditions: Vec<Condition>) -> Self {
        let status = AppStatus { observed_generation: 2, conditions, ..AppStatus::default() };
        Self { status, processes: vec![leader(true)], witness: Some(witness()), nodes: Vec::new(), deleting: false, platform: true }
    }

    fn ask(&self) -> Why {
        let (org, name) = ("acme".parse().expect("a name"), "shop".parse().expect("a name"));
        why(&Facts {
            org: &org,
            name: &name,
            generation: 2,
            changed: Some(now() - TimeDelta::seconds(90)),
            deleting: self.deleting.then(|| now() - TimeDelta::seconds(5)),
            spec: &spec(""),
            status: &self.status,
            witness: self.witness.as_ref(),
            processes: &self.processes,
            nodes: &self.nodes,
            ahead: 3,
            platform: self.platform,
            now: now(),
        })
    }
}

use ConditionStatus::{False, True, Unknown};
use ConditionType::{Accepted, Healthy, Progressing, Ready, Routed, Scheduled};

fn abouts(why: &Why) -> Vec<&str> {
    why.chain.iter().map(|link| link.about.as_str()).collect()
}

#[test]
fn a_ready_app_is_said_to_be_so_with_what_proves_it() {
    let case = Scene::new(vec![
        told(Ready, True, Reason::Serving, "generation 2 answers through the edge"),
        told(Healthy, True, Reason::AllHealthy, "all 2 tasks run and answer"),
        told(Routed, True, Reason::RouteLive, "requests for a.example.com reach 2 tasks of web"),
    ]);
    let why = case.ask();
    assert_eq!((why.case, why.ready, abouts(&why)), (Case::Ready, True, vec!["Ready", "Healthy", "Routed"]));
    assert!(why.summary.ends_with("all 2 tasks run and answer; requests for a.example.com reach 2 tasks of web"), "{}", why.summary);
    assert!(why.next.is_empty() && why.log.is_none() && wants_log(&why, case.witness.as_ref()).is_none());
}

#[test]
fn a_crash_that_was_reverted_names_the_task_the_node_and_what_answers_meanwhile() {
    let mut case = Scene::new(vec![
        told(Ready, False, Reason::RolloutFailed, "generation 2 failed: …"),
        told(Healthy, False, Reason::CrashLoop, "task web.1 on node n1 exited with code 1"),
    ]);
    case.status.verdict = verdict(Reason::CrashLoop, None, "task web.1 on node n1 exited with code 1");
    case.status.serving_generation = Some(1);
    case.status.proven_generation = Some(1);
    let why = case.ask();
    assert_eq!((why.case, abouts(&why)), (Case::Crash, vec!["Ready", "Healthy", "task web.1"]));
    assert_eq!((why.node.as_deref(), why.since), (Some("n1"), Some(witness().since)));
    assert_eq!(
        why.summary,
        "task web.1 on node n1 ends instead of running: it ended with exit code 1: task: non-zero exit (1). Generation 1 answers meanwhile"
    );
    let commands: Vec<&str> = why.next.iter().filter_map(|advice| advice.command.as_deref()).collect();
    assert_eq!(commands, ["skyctl diff app/shop 1 2", "skyctl rollback app/shop --to 1"], "the log is that of another release now");
    assert_eq!(wants_log(&why, case.witness.as_ref()).map(|witness| witness.task.as_str()), Some("t1"));
    // What was kept is not read again: another release's replica has the same name.
    let log = Some(api_types::why::LogExcerpt { replica: "web.1".to_owned(), lines: Vec::new(), missing: Some("late".to_owned()) });
    case.witness = Some(Witness { log, ..witness() });
    let why = case.ask();
    assert_eq!(why.log.as_ref().and_then(|log| log.missing.as_deref()), Some("late"));
    assert!(wants_log(&why, case.witness.as_ref()).is_none());
}

#[test]
fn a_deadline_names_its_cause_and_what_is_short() {
    let mut case = Scene::new(vec![
        told(Ready, False, Reason::RolloutFailed, "generation 2 failed: …"),
        told(Progressing, False, Reason::ProgressDeadlineExceeded, "no progress within …"),
        told(Scheduled, False, Reason::Unschedulable, "task web.1 has no node: no suitable node (insufficient resources on 1 node)"),
    ]);
    case.status.verdict = verdict(Reason::ProgressDeadlineExceeded, Some(Reason::Unschedulable), "no progress within …");
    let node: Node = {
        let mut node = Node::new(ObjectMeta::named("n1"), api_types::NodeSpec::default());
        node.status = Some(NodeStatusOf::ready(2_000, 4 << 30));
        node
    };
    case.nodes = vec![node];
    let why = case.ask();
    assert_eq!((why.case, abouts(&why)), (Case::NoNodeFits, vec!["Ready", "Progressing", "Scheduled"]));
    assert!(why.summary.ends_with("memory is short: web wants 4096 GiB, the largest node has 4096 MiB"), "{}", why.summary);
}

#[test]
fn a_deadline_that_came_before_its_cause_was_seen_is_explained_by_the_task_that_was_kept() {
    let mut case = Scene::new(vec![
        told(Ready, False, Reason::RolloutFailed, "generation 2 failed: …"),
        told(Progressing, False, Reason::ProgressDeadlineExceeded, "no progress within …: no task became ready"),
    ]);
    case.status.verdict = verdict(Reason::ProgressDeadlineExceeded, None, "no progress within …: no task became ready");
    assert_eq!(case.ask().case, Case::DeadlineExceeded);
    let message = "it runs, but connection refused on port 8080".to_owned();
    case.witness = Some(Witness { message, reason: Some(Reason::PortClosed), exit_code: None, ..witness() });
    let why = case.ask();
    assert_eq!((why.case, abouts(&why)), (Case::PortClosed, vec!["Ready", "Progressing", "task web.1"]));
    assert!(why.summary.contains("connection refused on port 8080"), "{}", why.summary);
}

struct NodeStatusOf;
impl NodeStatusOf {
    fn ready(cpu_millis: i64, memory_bytes: i64) -> api_types::NodeStatus {
        api_types::NodeStatus {
            availability: "active".to_owned(),
            state: "ready".to_owned(),
            cpu_millis,
            memory_bytes,
            ..api_types::NodeStatus::default()
        }
    }
}

#[test]
fn the_first_thing_that_is_wrong_is_the_cause_of_the_others() {
    let mut case = Scene::new(vec![
        told(Ready, False, Reason::RollingOut, "generation 2 is not proven yet: …"),
        told(Progressing, True, Reason::RollingOut, "waiting for web: 0 of 1 tasks are ready"),
        told(Accepted, False, Reason::NameTaken, "network shop-1 exists on the engine and does not belong to this app"),
        told(Scheduled, Unknown, Reason::Pending, "1 of 1 tasks were not asked for yet"),
        told(Routed, False, Reason::RoutePending, "the proxy has not taken the route yet"),
    ]);
    case.witness = None;
    assert_eq!(case.ask().case, Case::NameTaken);
    case.status.conditions.retain(|condition| condition.kind != Accepted);
    let why = case.ask();
    assert_eq!((why.case, abouts(&why)), (Case::RollingOut, vec!["Ready", "Progressing"]), "the route waits for the tasks");
    // The tasks answer, and the proxy does not follow.
    case.status.conditions.push(told(Healthy, True, Reason::AllHealthy, "all 1 tasks run and answer"));
    let progress = |seconds| api_types::kinds::app::RolloutStatus {
        generation: 2,
        started_at: now() - TimeDelta::minutes(3),
        last_progress_at: now() - TimeDelta::seconds(seconds),
        progress: 4,
        healthy_since: None,
        unknown_since: None,
    };
    case.status.rollout = Some(progress(1));
    assert_eq!(case.ask().case, Case::RollingOut);
    case.status.rollout = Some(progress(30));
    let why = case.ask();
    assert_eq!((why.case, abouts(&why)), (Case::DomainNotRouted, vec!["Ready", "Routed"]));
}

#[test]
fn nobody_vouches_for_an_app_while_no_controller_or_no_engine_works() {
    let mut case = Scene::new(vec![told(Ready, True, Reason::Serving, "generation 2 answers through the edge")]);
    case.processes.clear();
    let why = case.ask();
    assert_eq!((why.case, why.ready, abouts(&why)), (Case::NoController, Unknown, vec!["Ready", "controller"]));
    case.processes = vec![leader(false)];
    let why = case.ask();
    assert_eq!((why.case, why.ready), (Case::EngineUnreachable, Unknown));
    assert!(why.summary.contains("the engine of n1 cannot be used: connection refused"), "{}", why.summary);
    case.platform = false;
    let why = case.ask();
    assert!(!why.summary.contains("n1") && why.summary.contains("the engine cannot be used now"), "{}", why.summary);
    // A verdict that was given before stands.
    case.status.conditions =
        vec![told(Ready, False, Reason::RolloutFailed, "generation 2 failed"), told(Healthy, False, Reason::CrashLoop, "x")];
    case.status.verdict = verdict(Reason::CrashLoop, None, "x");
    assert_eq!(case.ask().case, Case::Crash);
}

#[test]
fn a_change_that_nobody_looked_at_waits_and_its_place_is_told() {
    let mut case = Scene::new(vec![told(Ready, True, Reason::Serving, "generation 1 answers")]);
    case.status.observed_generation = 1;
    let why = case.ask();
    assert_eq!((why.case, why.ready, abouts(&why)), (Case::Queued, Unknown, vec!["Ready", "queue"]));
    assert_eq!(
        why.summary,
        "generation 2 waits for a controller: the change has waited for 90 s; 3 older changes are before it; the controller runs 4 apps now, and 2 are due"
    );
    // What somebody changed by hand, and nobody may put right.
    case.status.observed_generation = 2;
    case.status.conditions = vec![
        told(Ready, False, Reason::Starting, "not every wanted task is ready"),
        told(Healthy, False, Reason::Starting, "web: 1 of 2 ready"),
        told(ConditionType::Drifted, True, Reason::DriftHeld, "service shop-web: replicas 2 -> 1"),
    ];
    case.witness = None;
    assert_eq!((case.ask().case, abouts(&case.ask())), (Case::DriftHeld, vec!["Ready", "Drifted"]));
    case.deleting = true;
    assert_eq!(case.ask().case, Case::Deleting);
}

#[test]
fn a_reason_that_says_what_is_wrong_has_a_case() {
    let fine = [
        "Pending",
        "Valid",
        "Resolved",
        "LocalImage",
        "AllScheduled",
        "ScaledToZero",
        "Suspended",
        "AllHealthy",
        "Starting",
        "RouteLive",
        "NoRoutes",
        "Maintenance",
        "Serving",
        "MixedRevisions",
        "NotPaused",
        "NoDrift",
        "DriftFound",
        // Of nodes.
        "AgentReports",
        "AgentSilent",
        "NoAgent",
        "PeersGetThrough",
        "PeersBlocked",
        // Of certificates and their own kind's conditions; no app has them.
        "CertificateServed",
        "CertificateExpiring",
        "CertificateExpired",
        "CertificateNotYetValid",
        "CertificateNotServed",
        "Running",
        "RollingOut",
        "RolloutFailed",
        "ProgressDeadlineExceeded",
        "Settled",
        "Waiting",
        "Available",
    ];
    let schema = schemars::schema_for!(Reason).to_value();
    let words: Vec<String> = schema["oneOf"]
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(|one| {
            one["const"]
                .as_str()
                .map(str::to_owned)
                .into_iter()
                .chain(one["enum"].as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)))
        })
        .collect();
    assert!(words.len() > 40, "{schema}");
    for word in words {
        let reason: Reason = serde_json::from_value(serde_json::Value::String(word.clone())).expect("a reason");
        assert_ne!(case_of(reason).is_some(), fine.contains(&word.as_str()), "{word}: either it has a case, or it is listed as fine");
    }
}
