//! The sentences of an answer: what is the matter, and what to do about it.

use api_types::kinds::app::ProcessSpec;
use api_types::platform::QueueState;
use api_types::why::{Advice, Case, Link, Witness};
use api_types::{ConditionType, Cpu, Memory, NodeStatus};

use super::Facts;
use crate::explain::span;

/// What is the matter, in one or two sentences.
pub(super) fn summary(facts: &Facts<'_>, case: Case, chain: &[Link]) -> String {
    let name = facts.name;
    // The task says how it ended; that it was for want of memory, and how much it may have, the condition says.
    let told = chain.iter().rev().find(|link| case != Case::OutOfMemory || link.reason.is_some());
    let text = told.map(|link| link.message.trim_end_matches('.')).unwrap_or_default();
    let who = facts.witness.map_or_else(|| "a task".to_owned(), who);
    let about = match case {
        Case::Ready => return ready(facts),
        Case::RollingOut => format!("a rollout of {name} is under way: {text}"),
        Case::ImageMissing => format!("the image {} cannot be found: {text}", facts.spec.image),
        Case::RegistryRefuses => format!("the registry does not give out the image {}: {text}", facts.spec.image),
        Case::RegistryUnreachable => format!("the image {} cannot be fetched: {text}", facts.spec.image),
        Case::Crash => format!("{who} ends instead of running: {text}"),
        Case::OutOfMemory => format!("{who} uses more memory than it may: {text}"),
        Case::HealthCheck => format!("{who} runs, but fails its health check: {text}"),
        Case::PortClosed => format!("{who} runs, but nothing listens on its port: {text}"),
        Case::TaskRejected => format!("a node cannot start a task: {text}"),
        Case::NoNodeFits => format!("no node can take a task: {text}{}", short_of(facts)),
        Case::AddressPoolExhausted => format!("the network of {name} gets no addresses: {text}"),
        Case::NameTaken => format!("somebody else's object is in the way: {text}"),
        Case::AdoptionRefused => format!("{name} does not get the service that it is to take over: {text}"),
        Case::StoreBehindCluster => format!("the engine has a newer {name} than the database: {text}"),
        Case::EngineRefused => format!("the engine refused a part of {name}: {text}"),
        Case::DomainNotRouted => format!("requests for {} do not reach {name}: {text}", hosts(facts)),
        Case::DeadlineExceeded => format!("the rollout made no progress in time, and nothing says why: {text}"),
        Case::EngineUnreachable => format!("nobody can say how {name} is now, because the engine does not answer: {text}"),
        Case::EdgeUnreachable => format!("nobody can say whether requests reach {name}, because the proxy does not answer: {text}"),
        Case::NoController => format!("nobody can say how {name} is now, because no controller works: {text}"),
        Case::Paused => format!("{name} is paused, so nothing is changed on the engine: {text}"),
        Case::DriftHeld => format!("{name} was changed on the engine by hand, and spec.driftPolicy holds that: {text}"),
        Case::Queued => format!("generation {} waits for a controller: {text}", facts.generation),
        Case::Deleting => format!("{name} is being deleted: {text}"),
        Case::HostInUse | Case::UnsafeHost | Case::DatabaseUnreachable | Case::Other => format!("{name} is not ready: {text}"),
    };
    format!("{about}{}", kept(facts))
}

/// The replica, and where it was.
fn who(witness: &Witness) -> String {
    match &witness.node {
        Some(node) => format!("task {} on node {node}", witness.replica()),
        None => format!("task {}", witness.replica()),
    }
}

/// What answers meanwhile.
fn kept(facts: &Facts<'_>) -> String {
    match facts.status.serving_generation {
        Some(serving) if serving != facts.generation => format!(". Generation {serving} answers meanwhile"),
        _ => String::new(),
    }
}

fn ready(facts: &Facts<'_>) -> String {
    let told = |kind| api_types::condition::find(&facts.status.conditions, kind).map(|told| told.message.as_str());
    let parts = [told(ConditionType::Healthy), told(ConditionType::Routed)];
    let proof: Vec<&str> = parts.into_iter().flatten().collect();
    let first = told(ConditionType::Ready).unwrap_or_default();
    format!("{} is ready: {}", facts.name, [first].into_iter().chain(proof).collect::<Vec<_>>().join("; "))
}

fn hosts(facts: &Facts<'_>) -> String {
    match facts.spec.domains.as_slice() {
        [] => "its host".to_owned(),
        some => some.iter().map(api_types::Host::as_str).collect::<Vec<_>>().join(", "),
    }
}

/// Where a change stands in the line.
pub(super) fn queue(facts: &Facts<'_>) -> String {
    let age = facts.changed.map(|changed| format!(" for {}", span(facts.now - changed))).unwrap_or_default();
    let before = match facts.ahead {
        0 => "it is the next of the changes that nobody has looked at".to_owned(),
        1 => "1 older change is before it".to_owned(),
        n => format!("{n} older changes are before it"),
    };
    let queue = facts.processes.iter().filter(|process| process.epoch.is_some()).find_map(|process| process.report.queue.as_ref());
    let work = queue
        .map(|QueueState { due, running, .. }| format!("; the controller runs {running} apps now, and {due} are due"))
        .unwrap_or_default();
    format!("the change has waited{age}; {before}{work}")
}

/// What the largest node lacks, for the process that wants most.
fn short_of(facts: &Facts<'_>) -> String {
    let fits = |status: &&NodeStatus| status.availability == "active" && status.state == "ready";
    let usable: Vec<&NodeStatus> = facts.nodes.iter().filter_map(|node| node.status.as_ref()).filter(fits).collect();
    let (Some(cpu), Some(memory)) = (usable.iter().map(|node| node.cpu_millis).max(), usable.iter().map(|node| node.memory_bytes).max())
    else {
        return if facts.nodes.is_empty() { String::new() } else { format!(". None of {} nodes is ready and active", facts.nodes.len()) };
    };
    let wants = |get: fn(&ProcessSpec) -> i64| facts.spec.processes.iter().map(|(name, process)| (get(process), name)).max();
    let cpu_wanted = wants(|process| process.resources.cpu.map_or(0, |cpu| i64::try_from(Cpu::millis(cpu)).unwrap_or(i64::MAX)));
    let memory_wanted = wants(|process| process.resources.memory.map_or(0, Memory::bytes));
    let mut said = Vec::new();
    if let Some((wanted, name)) = cpu_wanted.filter(|(wanted, _)| *wanted > cpu) {
        said.push(format!("CPU is short: {name} wants {}, the largest node has {}", cores(wanted), cores(cpu)));
    }
    if let Some((wanted, name)) = memory_wanted.filter(|(wanted, _)| *wanted > memory) {
        said.push(format!("memory is short: {name} wants {}, the largest node has {}", bytes(wanted), bytes(memory)));
    }
    if said.is_empty() {
        let most = format!("{} and {}", cores(cpu_wanted.map_or(0, |(n, _)| n)), bytes(memory_wanted.map_or(0, |(n, _)| n)));
        said.push(format!(
            "an empty node would do (a task wants up to {most}, the largest node has {} and {}), so other tasks hold what is missing",
            cores(cpu),
            bytes(memory)
        ));
    }
    format!(". {}", said.join("; "))
}

fn cores(millis: i64) -> String {
    if millis % 1000 == 0 { format!("{} cores", millis / 1000) } else { format!("{millis}m of a core") }
}

fn bytes(bytes: i64) -> String {
    const GIB: i64 = 1 << 30;
    if bytes >= 10 * GIB { format!("{} GiB", bytes / GIB) } else { format!("{} MiB", bytes >> 20) }
}

/// What to do, the most likely first.
pub(super) fn next(facts: &Facts<'_>, case: Case) -> Vec<Advice> {
    let name = facts.name.as_str();
    let mut advice = Advices { name, list: Vec::new() };
    match case {
        Case::Ready => {}
        Case::RollingOut => advice.run("wait for its end", "wait app/{} --for Ready"),
        Case::ImageMissing => {
            advice.run("correct the image's name or tag, or push it", "set image {} IMAGE");
            advice.since_before(facts);
        }
        Case::RegistryRefuses => {
            advice.say("let every node of the Swarm read the image: log in to the registry with `docker login` there, or make the repository readable");
            advice.run("then try again", "retry app/{}");
        }
        Case::RegistryUnreachable => {
            advice.say("see whether the registry is up and the nodes reach it (its name in the image, DNS, proxy, firewall)");
            advice.run("after that, try again", "retry app/{}");
        }
        Case::Crash => {
            advice.logs(facts);
            advice.since_before(facts);
        }
        Case::OutOfMemory => advice.say("raise spec.processes.NAME.resources.memory, or make the process use less, and apply"),
        Case::HealthCheck => {
            advice.logs(facts);
            advice.say("make the path answer with a status from 200 to 399 in time, or correct spec.processes.NAME.health");
        }
        Case::PortClosed => {
            advice.say("listen on all addresses (0.0.0.0, not 127.0.0.1) and on the port in the variable PORT, or correct spec.processes.NAME.port");
            advice.logs(facts);
        }
        Case::TaskRejected => {
            advice.say("the node's words say what it lacks; its log (journalctl -u docker) says more");
            advice.run("then try again", "retry app/{}");
        }
        Case::NoNodeFits => {
            advice.say("lower spec.processes.NAME.resources, or add a node to the Swarm");
            advice.run("see what the nodes have", "get nodes");
        }
        Case::AddressPoolExhausted => {
            advice.say("delete apps or networks that are not needed; each app takes one subnet of the Swarm's pool");
            advice.say("or make the Swarm anew with a larger pool (docker swarm init --default-addr-pool): it cannot be changed later");
        }
        Case::NameTaken => advice.say("rename or remove that object on the engine; it is not ours, so it is not touched"),
        Case::AdoptionRefused => {
            advice.say("make the manifest say what the service is now; `skyctl adopt service/NAME` writes it from the service");
            advice.say("or remove \"adopt\" from the process: the app then gets a service of its own");
        }
        Case::StoreBehindCluster => {
            advice.say("see whether the database was restored from a backup; what is on the engine stays as it is meanwhile");
            advice.say("then apply the app as it should be: a new revision is ahead of the engine's, and is rolled out");
        }
        Case::EngineRefused => {
            advice.run("correct what the engine's words name, and apply; the events say what was asked", "events app/{}")
        }
        Case::DomainNotRouted => {
            advice.run("see what the proxy said, and how the tasks are", "describe app/{}");
            advice.say("if the app is scaled to zero or stopped, scale or start it");
        }
        Case::DeadlineExceeded => {
            advice.logs(facts);
            advice.say("give slow starts more time with spec.rollout.progressDeadline");
        }
        Case::EngineUnreachable => {
            advice.say("start the engine, or see why it does not answer (systemctl status docker); nothing is changed until it is back")
        }
        Case::EdgeUnreachable => advice.say("the server starts its proxy again by itself; its log says why it does not answer"),
        Case::NoController => advice.say("start `skyswarm up` or `skyswarm controller`, or see in its log why it does not lead"),
        Case::Paused => advice.run("let it go on", "resume app/{}"),
        Case::DriftHeld => {
            advice.run("see what was changed", "drift app/{}");
            advice.say("let it be put right with spec.driftPolicy: correct, or take the change into the manifest");
        }
        Case::Queued => advice.say("wait; if it takes long, `skyctl status` says what the controller does"),
        Case::Deleting => advice.run("wait for its end", "wait app/{} --for delete"),
        Case::HostInUse | Case::UnsafeHost | Case::DatabaseUnreachable | Case::Other => {
            advice.run("see all that is known", "describe app/{}");
        }
    }
    advice.list
}

struct Advices<'a> {
    name: &'a str,
    list: Vec<Advice>,
}

impl Advices<'_> {
    /// Where the failed release still runs, its log goes on.
    fn logs(&mut self, facts: &Facts<'_>) {
        if facts.status.serving_generation.is_none_or(|serving| serving == facts.generation) {
            self.run("read what the process said", "logs {} --tail 50");
        }
    }
    /// What there is to do when an older generation worked.
    fn since_before(&mut self, facts: &Facts<'_>) {
        let Some(proven) = facts.status.proven_generation.filter(|proven| *proven < facts.generation) else { return };
        self.run(
            &format!("see what changed since revision {proven}, which worked"),
            &format!("diff app/{{}} {proven} {}", facts.generation),
        );
        self.run("or go back to it", &format!("rollback app/{{}} --to {proven}"));
    }
    fn say(&mut self, text: &str) {
        self.list.push(Advice { text: text.to_owned(), command: None });
    }
    /// With a command of the command line; `{}` stands for the app's name.
    fn run(&mut self, text: &str, command: &str) {
        let command = format!("skyctl {}", command.replace("{}", self.name));
        self.list.push(Advice { text: text.to_owned(), command: Some(command) });
    }
}
