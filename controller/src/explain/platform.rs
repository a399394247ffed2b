//! What is wrong with the platform itself, from heartbeats and counts.

use api_types::platform::{ServerProcess, Unreconciled};
use chrono::{DateTime, TimeDelta, Utc};

use super::span;

/// A change that no controller has looked at for so long is told as a problem.
const PATIENCE: TimeDelta = TimeDelta::seconds(60);

/// Every problem in one sentence, the most important first. None: the platform does its work.
pub fn problems(processes: &[ServerProcess], oldest: Option<&Unreconciled>, now: DateTime<Utc>) -> Vec<String> {
    let mut found: Vec<String> = controllers(processes, now).into_iter().collect();
    for process in processes.iter().filter(|process| !process.stale) {
        let host = &process.report.host;
        if let Some(engine) = process.report.engine.as_ref().filter(|engine| !engine.ok) {
            found.push(format!("the engine of {host} cannot be used: {}", engine.detail));
        }
        if let Some(edge) = process.report.edge.as_ref().filter(|edge| !edge.ok) {
            found.push(format!("the proxy of {host} does not serve as it should: {}", edge.detail));
        }
    }
    if let Some(oldest) = oldest.filter(|oldest| now - oldest.since > PATIENCE) {
        found.push(format!("a change of {}/{} has waited {} for a controller", oldest.org, oldest.name, span(now - oldest.since)));
    }
    let queues = processes.iter().filter(|process| process.epoch.is_some()).filter_map(|process| process.report.queue.as_ref());
    for queue in queues {
        let waited = queue.oldest_seconds.and_then(|seconds| i64::try_from(seconds).ok()).map(TimeDelta::seconds);
        if let (Some(key), Some(waited)) = (&queue.oldest, waited.filter(|waited| *waited > PATIENCE)) {
            found.push(format!(
                "the queue is behind: {} apps are due, and {key} has waited {} for its turn; raise the setting controller.concurrency",
                queue.due,
                span(waited)
            ));
        }
    }
    found
}

/// The same for somebody who may see an organisation only: no hosts, no words of the engine, no other apps.
pub fn problems_of_a_tenant(processes: &[ServerProcess], oldest: Option<&Unreconciled>, now: DateTime<Utc>) -> Vec<String> {
    let mut found = Vec::new();
    if controllers(processes, now).is_some() {
        found.push("no controller works now, so nothing that is changed is carried out; ask the platform's administrators".to_owned());
    }
    let live = || processes.iter().filter(|process| !process.stale);
    if live().any(|process| process.report.engine.as_ref().is_some_and(|engine| !engine.ok)) {
        found.push("an engine cannot be used; ask the platform's administrators".to_owned());
    }
    if live().any(|process| process.report.edge.as_ref().is_some_and(|edge| !edge.ok)) {
        found.push("a proxy does not serve as it should; ask the platform's administrators".to_owned());
    }
    if let Some(oldest) = oldest.filter(|oldest| now - oldest.since > PATIENCE) {
        found.push(format!("a change of {} has waited {} for a controller", oldest.name, span(now - oldest.since)));
    }
    found
}

/// The database was set back, as by a restored backup: how many apps show it, and one of them.
pub fn behind(count: i64, first: &str) -> String {
    format!(
        "StoreBehindCluster: the engine runs newer generations of {count} app(s) than the database knows, such as {first}: the database was set \
         back. Nothing of them is removed or replaced; apply each of them again, as it is wanted now"
    )
}

/// What is wrong with the controllers as a whole. `None` when one leads and reports.
pub fn controllers(processes: &[ServerProcess], now: DateTime<Utc>) -> Option<String> {
    let controllers = || processes.iter().filter(|process| process.has_role("controller"));
    if let Some(leader) = controllers().find(|process| process.epoch.is_some()) {
        let silent =
            || format!("the leading controller on {} has not reported for {}", leader.report.host, span(now - leader.heartbeat_at));
        return leader.stale.then(silent);
    }
    let live = controllers().filter(|process| !process.stale).count();
    if live > 0 {
        return Some(format!("no controller leads: {live} run, and none has the lease yet; one takes it within seconds"));
    }
    let last = controllers().max_by_key(|process| process.heartbeat_at);
    let last = last.map(|last| format!("; the last one, on {}, was heard of {} ago", last.report.host, span(now - last.heartbeat_at)));
    Some(format!("no controller runs, so nothing that is changed is carried out{}", last.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use api_types::platform::{PartState, ProcessReport, QueueState};

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_770_000_000, 0).expect("a time")
    }

    fn process(roles: &[&str], epoch: Option<i64>, age: i64) -> ServerProcess {
        ServerProcess {
            id: format!("n1-{age}"),
            started_at: now() - TimeDelta::seconds(600),
            heartbeat_at: now() - TimeDelta::seconds(age),
            stale: age > 15,
            epoch,
            report: ProcessReport {
                roles: roles.iter().map(|role| (*role).to_owned()).collect(),
                host: "n1".to_owned(),
                version: "0.1.0".to_owned(),
                engine: Some(PartState { ok: true, detail: "Docker Engine 20.10.24, a Swarm manager".to_owned() }),
                edge: Some(PartState { ok: true, detail: "fine".to_owned() }),
                queue: Some(QueueState::default()),
            },
        }
    }

    fn told(processes: &[ServerProcess]) -> Vec<String> {
        problems(processes, None, now())
    }

    #[test]
    fn a_leader_that_reports_is_no_problem_and_neither_is_one_that_died_before_it() {
        let (leader, dead) = (process(&["controller", "edge"], Some(3), 2), process(&["controller", "edge"], None, 300));
        assert!(told(std::slice::from_ref(&leader)).is_empty());
        assert!(told(&[leader, dead]).is_empty());
    }

    #[test]
    fn it_is_told_apart_whether_none_runs_none_leads_or_the_leader_is_silent() {
        let api = process(&["api"], None, 2);
        assert_eq!(told(std::slice::from_ref(&api)), ["no controller runs, so nothing that is changed is carried out"]);
        assert_eq!(
            told(&[api.clone(), process(&["controller"], None, 600)]),
            ["no controller runs, so nothing that is changed is carried out; the last one, on n1, was heard of 10 min ago"]
        );
        let standby = process(&["controller"], None, 2);
        assert_eq!(told(&[api, standby]), ["no controller leads: 1 run, and none has the lease yet; one takes it within seconds"]);
        assert_eq!(told(&[process(&["controller"], Some(2), 40)]), ["the leading controller on n1 has not reported for 40 s"]);
    }

    #[test]
    fn a_part_that_does_not_answer_and_a_queue_that_is_behind_are_told() {
        let mut leader = process(&["controller", "edge"], Some(3), 2);
        leader.report.engine = Some(PartState { ok: false, detail: "the engine did not answer (info): connection refused".to_owned() });
        leader.report.queue =
            Some(QueueState { due: 40, oldest: Some("acme/shop".into()), oldest_seconds: Some(90), ..QueueState::default() });
        let oldest = Unreconciled {
            org: "acme".into(),
            name: "shop".into(),
            generation: 4,
            observed_generation: 3,
            since: now() - TimeDelta::seconds(200),
        };
        assert_eq!(
            problems(&[leader], Some(&oldest), now()),
            [
                "the engine of n1 cannot be used: the engine did not answer (info): connection refused",
                "a change of acme/shop has waited 3 min for a controller",
                "the queue is behind: 40 apps are due, and acme/shop has waited 90 s for its turn; raise the setting controller.concurrency",
            ]
        );
    }
}
