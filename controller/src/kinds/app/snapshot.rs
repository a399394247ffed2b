//! One shared look at everything that runs of apps read, as a digest for each app.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use uuid::Uuid;

use super::observe::Observer;
use super::quiet::hash;
use crate::edge::{EndpointTable, Route};
use crate::engines::swarm::{Network, Secret, ServiceHead, Task, labels};
use crate::engines::traefik::ProxyApi;
use crate::plan::Fact;
use crate::settings::Settings;
use crate::store::{AppHead, AppKey};

/// Requests through the edge at a time.
const PROBES: usize = 8;

/// Hashes of what belongs to each app. The order in which they come makes no difference.
#[derive(Debug, Default)]
struct Parts(HashMap<Uuid, Vec<u64>>);

impl Parts {
    fn add(&mut self, owner: Option<Uuid>, part: impl Hash) {
        if let Some(owner) = owner {
            self.0.entry(owner).or_default().push(hash(part));
        }
    }

    fn of(&mut self, owner: Uuid) -> u64 {
        let mut parts = self.0.remove(&owner).unwrap_or_default();
        parts.sort_unstable();
        hash(parts)
    }
}

/// What the engine has.
#[derive(Debug, Default)]
struct Engine {
    services: Vec<ServiceHead>,
    tasks: Vec<Task>,
    networks: Vec<Network>,
    secrets: Vec<Secret>,
}

/// Reads everything and digests it by app. `None` when a part cannot be read: then nothing is known of any app.
pub async fn digests(observer: &Observer, heads: Vec<AppHead>, settings: &Settings) -> Option<HashMap<AppKey, u64>> {
    let engine = &observer.engine;
    let keys: Vec<String> = heads.iter().map(|head| crate::edge::route_key(head.uid, &head.key.org, &head.key.name)).collect();
    let (services, tasks, networks, secrets, routes) = tokio::join!(
        engine.service_heads(),
        engine.task_list(&[]),
        engine.network_list(""),
        engine.secret_list(""),
        observer.proxy.route_digests(&keys),
    );
    let Fact::Known(routes) = routes else { return None };
    let engine = Engine { services: services.ok()?, tasks: tasks.ok()?, networks: networks.ok()?, secrets: secrets.ok()? };
    let table = observer.endpoints.borrow().clone();
    table.observed_at?;
    let mut parts = parts(&engine, &table);
    let probes = probes(observer, &heads, &table).await;
    let mode = settings.endpoint_mode();
    let digest = |(head, key): (AppHead, String)| {
        let host = settings.platform_host(&head.key.org, &head.key.name).map(|host| host.to_string());
        let whole =
            (head.version, head.route_version, host, format!("{mode:?}"), routes.get(&key), probes.get(&head.uid), parts.of(head.uid));
        (head.key, hash(whole))
    };
    Some(heads.into_iter().zip(keys).map(digest).collect())
}

/// Pure: what belongs to whom, and which version of it.
fn parts(engine: &Engine, table: &EndpointTable) -> Parts {
    let owner = |labels: &BTreeMap<String, String>| labels.get(labels::OWNER_UID).and_then(|uid| uid.parse().ok());
    let mut parts = Parts::default();
    let mut of_service: HashMap<&str, Option<Uuid>> = HashMap::new();
    for service in &engine.services {
        let uid = owner(&service.labels);
        of_service.insert(&service.id, uid);
        parts.add(uid, ("service", &service.id, service.version));
    }
    for task in &engine.tasks {
        // A task of a service that is gone still says on its container whose it was.
        let uid = of_service.get(task.service_id.as_str()).copied().flatten().or_else(|| owner(&task.container_labels));
        let said = (&task.message, &task.error, task.exit_code, &task.container_id, &task.node_id);
        parts.add(uid, ("task", &task.id, format!("{:?} {:?}", task.state, task.desired_state), task.state_since, said));
    }
    for network in &engine.networks {
        parts.add(owner(&network.labels), ("network", &network.id, &network.name));
    }
    for secret in &engine.secrets {
        parts.add(owner(&secret.labels), ("secret", &secret.id, &secret.name, &secret.labels));
    }
    for endpoint in table.endpoints.values() {
        let check = format!("{:?}", endpoint.last_check);
        parts.add(Some(endpoint.app_uid), ("endpoint", &endpoint.task_id, endpoint.address, endpoint.ready, endpoint.since, check));
    }
    parts
}

/// Our own request through the edge for each app that has a task to answer it: whether it did is seen at every resync.
async fn probes(observer: &Observer, heads: &[AppHead], table: &EndpointTable) -> HashMap<Uuid, bool> {
    let answering: HashSet<Uuid> = table.endpoints.values().filter(|end| end.ready).map(|end| end.app_uid).collect();
    let mut asked = Vec::new();
    for route in heads.iter().filter_map(|head| head.route.as_ref()) {
        if answering.contains(&route.app_uid) {
            asked.push(probe(observer.proxy.clone(), route.clone()));
        }
    }
    stream::iter(asked).buffer_unordered(PROBES).collect().await
}

async fn probe(proxy: Arc<dyn ProxyApi>, route: Route) -> (Uuid, bool) {
    (route.app_uid, proxy.probe_route(&route).await.is_some_and(|result| result.ok))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;
    use crate::kinds::app::tests::fixtures::{World, web};

    /// The digest of the fixture's app in a world that a test changed.
    fn digest(change: impl FnOnce(&mut Engine)) -> u64 {
        let world = World::of(web(2)).resolved().running();
        let mut engine = Engine {
            services: world.observed.services.known().into_iter().flatten().cloned().map(ServiceHead::from).collect(),
            tasks: world.observed.tasks.known().cloned().unwrap_or_default(),
            networks: world.observed.networks.known().cloned().unwrap_or_default(),
            secrets: Vec::new(),
        };
        change(&mut engine);
        parts(&engine, &EndpointTable::default()).of(world.record.uid)
    }

    #[test]
    fn a_digest_differs_by_what_a_run_would_see_and_by_nothing_else() {
        let same = digest(|_| {});
        assert_eq!(digest(|engine| engine.tasks.reverse()), same, "the order in which the engine lists is no change");
        let changes: [fn(&mut Engine); 7] = [
            |engine| engine.services[0].version += 1,
            |engine| drop(engine.services.pop()),
            |engine| drop(engine.tasks.pop()),
            |engine| engine.tasks[0].state = crate::engines::swarm::TaskState::Failed,
            |engine| engine.tasks[0].error = "exit 1".to_owned(),
            |engine| engine.tasks[0].state_since = DateTime::UNIX_EPOCH + TimeDelta::days(1),
            |engine| drop(engine.networks.pop()),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_ne!(digest(change), same, "change {number}");
        }
        let foreign = |engine: &mut Engine| {
            for service in &mut engine.services {
                service.labels.remove(labels::OWNER_UID);
            }
        };
        assert_ne!(digest(foreign), same, "a service that lost its labels");
    }
}
