//! Reads what exists of one app: engine, endpoints, route and proxy. Every failed read is `Unknown`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;
use tracing::{debug, warn};

use super::desired::Desired;
use super::model::Observed;
use super::names;
use crate::edge::{EndpointTable, Route, RouteFacts};
use crate::engines::swarm::{EngineError, EngineResult, Service, SwarmEngine, Task, labels};
use crate::engines::traefik::ProxyApi;
use crate::fleet::hub::Fleet;
use crate::plan::Fact;

/// Exit code of what SIGKILL ended, which is how the kernel ends what is out of memory.
const KILLED: i64 = 137;
/// Killed tasks of one app that are asked about, newest first; the engine remembers more than anybody needs.
const MOST_KILLED: usize = 10;

/// Where observations come from.
#[derive(Clone)]
pub struct Observer {
    /// The engine.
    pub engine: Arc<dyn SwarmEngine>,
    /// The proxy.
    pub proxy: Arc<dyn ProxyApi>,
    /// Which tasks answer.
    pub endpoints: watch::Receiver<Arc<EndpointTable>>,
    /// What agents know of containers on other nodes.
    pub fleet: Option<Fleet>,
    /// Host names of nodes by id, refreshed by the node controller; for messages only.
    pub nodes: Arc<RwLock<HashMap<String, String>>>,
    /// Whether other processes have an edge, as the last heartbeat found.
    pub other_edges: Arc<AtomicBool>,
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}

impl Observer {
    /// Reads everything that concerns `desired`. Returns the facts, and the engine's error if it could
    /// not be read. `route` is the published route as stored.
    pub async fn observe(&self, desired: &Desired, route: Fact<Route>) -> (Observed, Option<EngineError>) {
        let owner = &desired.owner;
        let prefix = names::prefix(&owner.app, owner.uid);
        let (services, networks, secrets, edge) = tokio::join!(
            self.services(desired, &prefix),
            self.engine.network_list(&prefix),
            self.engine.secret_list(&prefix),
            self.edge(desired, &route),
        );
        let tasks = match &services {
            Ok(services) => self.tasks(desired, services).await,
            Err(error) => Err(error.clone()),
        };
        // Read after the tasks, so that a ready endpoint never stands for a task that was not seen.
        let endpoints = self
            .endpoints
            .borrow()
            .of_app(owner.uid)
            .map_or(Fact::Unknown, |endpoints| Fact::Known(endpoints.into_iter().cloned().collect()));
        let out_of_memory = match &tasks {
            Ok(tasks) => self.out_of_memory(tasks).await,
            Err(_) => BTreeSet::new(),
        };
        let mut failure = None;
        let observed = Observed {
            services: fact(services, &mut failure),
            tasks: fact(tasks, &mut failure),
            networks: fact(networks, &mut failure),
            secrets: fact(secrets, &mut failure),
            endpoints,
            route,
            edge,
            nodes: BTreeMap::new(),
            out_of_memory,
            other_edges: self.other_edges.load(Ordering::Relaxed),
        };
        (self.with_node_names(observed), failure)
    }

    /// Services with the app's prefix, and those that it may have taken over, which have names of their own.
    async fn services(&self, desired: &Desired, prefix: &str) -> EngineResult<Vec<Service>> {
        let mut services = self.engine.service_list(prefix).await?;
        // One call each: few apps took anything over, and these took over few.
        for (name, id) in &desired.adopted {
            let found = self.engine.service_list(name).await?;
            services.extend(found.into_iter().filter(|service| service.spec.name == *name && service.id == *id));
        }
        Ok(services)
    }

    async fn tasks(&self, desired: &Desired, services: &[Service]) -> EngineResult<Vec<Task>> {
        let owner = &desired.owner;
        if desired.deleting && !services.iter().any(|service| owner.owns(&service.spec.labels)) {
            // The services are gone, their last tasks may not be: find them by owner.
            let uid = owner.uid.to_string();
            let mut tasks = self.engine.task_list(&[]).await?;
            tasks.retain(|task| task.container_labels.get(labels::OWNER_UID) == Some(&uid));
            return Ok(tasks);
        }
        let ids: Vec<String> = services.iter().filter(|s| owner.owns(&s.spec.labels)).map(|service| service.id.clone()).collect();
        if ids.is_empty() { Ok(Vec::new()) } else { self.engine.task_list(&ids).await }
    }

    /// Which of the tasks that were killed ran out of memory, as far as this engine and the agents know. Not knowing is no failure: the
    /// container may be on another node.
    async fn out_of_memory(&self, tasks: &[Task]) -> BTreeSet<String> {
        let mut killed: Vec<&Task> =
            tasks.iter().filter(|task| task.exit_code == Some(KILLED) && !task.container_id.is_empty() && !task.is_live()).collect();
        killed.sort_by_key(|task| std::cmp::Reverse(task.state_since));
        let mut found = BTreeSet::new();
        let elsewhere = self.fleet.as_ref().map(Fleet::out_of_memory).unwrap_or_default();
        for task in killed.into_iter().take(MOST_KILLED) {
            if elsewhere.contains(&task.container_id) {
                found.insert(task.id.clone());
                continue;
            }
            match self.engine.ran_out_of_memory(&task.container_id).await {
                Ok(Some(true)) => {
                    found.insert(task.id.clone());
                }
                Ok(_) => {}
                Err(error) => debug!(%error, task = task.id, "how a task ended could not be read"),
            }
        }
        found
    }

    async fn edge(&self, desired: &Desired, route: &Fact<Route>) -> Fact<RouteFacts> {
        let mut facts = self.proxy.route_facts(&desired.owner.route_key()).await;
        if let (Fact::Known(facts), Some(route), false) = (&mut facts, route.known(), desired.deleting)
            && !facts.servers.is_empty()
        {
            facts.probe = self.proxy.probe_route(route).await;
        }
        facts
    }

    fn with_node_names(&self, mut observed: Observed) -> Observed {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let tasks = observed.tasks.known().into_iter().flatten();
        observed.nodes = tasks.filter_map(|task| nodes.get(&task.node_id).map(|name| (task.node_id.clone(), name.clone()))).collect();
        observed
    }
}

fn fact<T>(result: EngineResult<T>, failure: &mut Option<EngineError>) -> Fact<T> {
    match result {
        Ok(value) => Fact::Known(value),
        Err(error) => {
            match &error {
                EngineError::Stale { .. } => debug!(%error, "a list was not believed"),
                _ => warn!(%error, "the engine could not be read"),
            }
            failure.get_or_insert(error);
            Fact::Unknown
        }
    }
}
