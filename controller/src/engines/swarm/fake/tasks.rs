//! Tasks of the Swarm in memory: made late, moved one state a tick, removed late.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::state::{NODE_ID, template_hash};
use super::{Outcome, State, Template, free_address};
use crate::engines::swarm::{EngineHint, Service, Task, TaskState};

/// Ended tasks that the engine keeps for each slot.
const KEPT_ENDED: usize = 4;

impl State {
    /// One tick.
    pub(super) fn tick(&mut self, now: DateTime<Utc>, monotonic: Duration) -> Vec<EngineHint> {
        let mut hints = Vec::new();
        if self.lies(now, monotonic) {
            return hints;
        }
        let ids: Vec<String> = self.tasks.keys().cloned().collect();
        for id in ids {
            hints.extend(self.move_task(&id, now));
        }
        let services: Vec<Service> = self.services.values().cloned().collect();
        for service in services {
            self.fill_slots(&service, now);
        }
        self.forget_ended();
        hints
    }

    /// Whether what is said of tasks is still from before a crash. When that ends, what was said to run has failed.
    fn lies(&mut self, now: DateTime<Utc>, monotonic: Duration) -> bool {
        match self.lying_until {
            None => return false,
            Some(until) if monotonic < until => return true,
            Some(_) => self.lying_until = None,
        }
        for task in self.tasks.values_mut().filter(|task| task.is_live() && task.state >= TaskState::Assigned) {
            (task.state, task.message, task.state_since) = (TaskState::Failed, "the node was restarted".to_owned(), now);
            task.exit_code = (!task.container_id.is_empty()).then_some(137);
        }
        false
    }

    fn outcome(&self, image: &str) -> Outcome {
        let set = self.outcomes.iter().rev().find(|(part, _)| image.contains(part.as_str())).map(|(_, outcome)| *outcome);
        let by_name = || match image {
            image if image.contains("crash") => Outcome::Exits(1),
            image if image.contains("missing") => Outcome::MissingImage,
            image if image.contains("unschedulable") => Outcome::Unschedulable,
            image if image.contains("hang") => Outcome::Prepares,
            _ => Outcome::Runs,
        };
        set.unwrap_or_else(by_name)
    }

    /// Makes missing tasks, and tells those to go that are of another template or too many.
    fn fill_slots(&mut self, service: &Service, now: DateTime<Utc>) {
        let hash = template_hash(&service.spec);
        for slot in 1..=service.spec.replicas {
            let wanted = |task: &&Task| task.service_id == service.id && task.slot == slot && task.is_wanted() && task.is_live();
            let current = self.tasks.values().find(wanted).map(|task| task.id.clone());
            let up_to_date = current.as_ref().and_then(|id| self.templates.get(id)).is_some_and(|template| template.hash == hash);
            if up_to_date {
                continue;
            }
            if let Some(task) = current.and_then(|id| self.tasks.get_mut(&id)) {
                task.desired_state = TaskState::Shutdown;
            }
            let id = self.new_id("tsk");
            let template = Template {
                service_id: service.id.clone(),
                hash: hash.clone(),
                outcome: self.outcome(&service.spec.image),
                on_network: !service.spec.network.is_empty(),
                ticks_running: 0,
            };
            self.templates.insert(id.clone(), template);
            self.tasks.insert(id.clone(), new_task(id, service, slot, now));
        }
        for task in self.tasks.values_mut().filter(|task| task.service_id == service.id && task.slot > service.spec.replicas) {
            task.desired_state = TaskState::Remove;
        }
    }

    fn move_task(&mut self, id: &str, now: DateTime<Utc>) -> Vec<EngineHint> {
        let Some(template) = self.templates.get_mut(id) else { return Vec::new() };
        let Some(task) = self.tasks.get_mut(id) else { return Vec::new() };
        if !self.services.contains_key(&template.service_id) {
            task.desired_state = TaskState::Remove;
        }
        if !task.is_live() {
            return Vec::new();
        }
        let was = task.state;
        let next = if task.is_wanted() { next_state(task.state, template) } else { (TaskState::Shutdown, "shutdown", "") };
        if next.0 == was {
            return Vec::new();
        }
        (task.state, task.message, task.error) = (next.0, next.1.to_owned(), next.2.to_owned());
        task.state_since = now;
        let mut hints = vec![EngineHint::Changed { kind: "container", name: task.container_id.clone() }];
        if task.state >= TaskState::Assigned {
            task.node_id = NODE_ID.to_owned();
        }
        if task.state == TaskState::Ready {
            task.container_id = hex::encode(Sha256::digest(id));
        }
        if task.state == TaskState::Running {
            hints.push(EngineHint::ContainerStarted { id: task.container_id.clone() });
            if template.on_network {
                let address = free_address(&self.addresses);
                self.addresses.insert(task.container_id.clone(), address);
            }
        }
        if task.state > TaskState::Running && !task.container_id.is_empty() {
            task.exit_code = Some(match (task.state, template.outcome) {
                (TaskState::Failed | TaskState::Complete, Outcome::Exits(code)) => code,
                _ => 0,
            });
            self.addresses.remove(&task.container_id);
            hints.push(EngineHint::ContainerGoing { id: task.container_id.clone() });
        }
        hints
    }

    /// Removes tasks that are to be removed and have ended, and the oldest of the ended beyond the history.
    fn forget_ended(&mut self) {
        let mut gone: BTreeSet<String> = BTreeSet::new();
        for task in self.tasks.values().filter(|task| !task.is_live()) {
            let later =
                |other: &&Task| other.service_id == task.service_id && other.slot == task.slot && !other.is_live() && other.id > task.id;
            if task.desired_state == TaskState::Remove || self.tasks.values().filter(later).count() >= KEPT_ENDED {
                gone.insert(task.id.clone());
            }
        }
        self.tasks.retain(|id, _| !gone.contains(id));
        self.templates.retain(|id, _| !gone.contains(id));
    }
}

fn next_state(state: TaskState, template: &mut Template) -> (TaskState, &'static str, &'static str) {
    match state {
        TaskState::New if template.outcome == Outcome::Unschedulable => {
            (TaskState::Pending, "pending task scheduling", "no suitable node (insufficient resources on 1 node)")
        }
        TaskState::New => (TaskState::Assigned, "scheduler assigned task to node", ""),
        TaskState::Assigned => (TaskState::Preparing, "preparing", ""),
        TaskState::Preparing => match template.outcome {
            Outcome::MissingImage => (TaskState::Rejected, "preparing", "No such image"),
            Outcome::Prepares => (TaskState::Preparing, "preparing", ""),
            _ => (TaskState::Ready, "prepared", ""),
        },
        TaskState::Ready => (TaskState::Starting, "starting", ""),
        TaskState::Starting => (TaskState::Running, "started", ""),
        TaskState::Running => match template.outcome {
            Outcome::Exits(_) if template.ticks_running == 0 => {
                template.ticks_running += 1;
                (TaskState::Running, "started", "")
            }
            Outcome::Exits(0) => (TaskState::Complete, "finished", ""),
            Outcome::Exits(_) => (TaskState::Failed, "started", "task: non-zero exit"),
            _ => (TaskState::Running, "started", ""),
        },
        other => (other, "", ""),
    }
}

fn new_task(id: String, service: &Service, slot: u64, now: DateTime<Utc>) -> Task {
    Task {
        id,
        service_id: service.id.clone(),
        slot,
        node_id: String::new(),
        state: TaskState::New,
        desired_state: TaskState::Running,
        message: "created".to_owned(),
        error: String::new(),
        container_id: String::new(),
        exit_code: None,
        container_labels: service.spec.container_labels.clone(),
        created_at: now,
        state_since: now,
    }
}
