//! What tasks use now, for the API, from the engine of this process.
//!
//! An engine knows of its own containers only; figures of other nodes' tasks are what their agents measured within the last
//! seconds. Tasks of nodes without an agent are listed without figures rather than left out: a sum over some of the tasks must
//! not look like one over all.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api_types::usage::{TaskUsage, Usage};
use async_trait::async_trait;
use futures::{StreamExt, stream};

use crate::api::{LogError, UsageSource};
use crate::clock::SharedClock;
use crate::engines::swarm::{EngineError, Service, SwarmEngine, Task, labels};
use crate::fleet::hub::Fleet;
use crate::kinds::app::names;
use crate::store::AppRecord;

/// Containers that are measured at once; each takes the engine a second.
const AT_ONCE: usize = 64;
/// Longest time for all of them. What is not measured by then has no figures.
const DEADLINE: Duration = Duration::from_secs(15);

/// Figures from the engine.
pub(super) struct EngineUsage {
    pub(super) engine: Arc<dyn SwarmEngine>,
    pub(super) clock: SharedClock,
    /// What agents measured on other nodes.
    pub(super) fleet: Option<Fleet>,
}

/// Figures of a process that has no engine.
pub(super) struct NoUsage;

#[async_trait]
impl UsageSource for NoUsage {
    async fn usage(&self, _apps: &[AppRecord]) -> Result<Usage, LogError> {
        Err(LogError::Unavailable {
            detail: "this server runs the API alone and has no engine; ask one that runs the controller".to_owned(),
        })
    }
}

#[async_trait]
impl UsageSource for EngineUsage {
    async fn usage(&self, apps: &[AppRecord]) -> Result<Usage, LogError> {
        let known: HashMap<String, &AppRecord> = apps.iter().map(|app| (app.uid.to_string(), app)).collect();
        // Of one app, so that the engine need not list those of all.
        let prefix = match apps {
            [app] => names::prefix(&app.name, app.uid),
            _ => String::new(),
        };
        let (info, nodes, services) =
            tokio::try_join!(self.engine.info(), self.engine.node_list(), self.engine.service_list(&prefix)).map_err(unavailable)?;
        let ours = |service: &Service| service.spec.labels.get(labels::OWNER_UID).is_some_and(|uid| known.contains_key(uid));
        let services: BTreeMap<String, Service> = services.into_iter().filter(ours).map(|service| (service.id.clone(), service)).collect();
        let ids: Vec<String> = services.keys().cloned().collect();
        // No id would mean every task of the platform.
        let tasks = if ids.is_empty() { Vec::new() } else { self.engine.task_list(&ids).await.map_err(unavailable)? };
        let running: Vec<Task> = tasks.into_iter().filter(|task| task.is_running() && !task.container_id.is_empty()).collect();
        let node_name = |id: &str| nodes.iter().find(|node| node.id == id).map_or_else(|| id.to_owned(), |node| node.hostname.clone());
        let mut measured = self.measured(running.iter().filter(|task| task.node_id == info.node_id)).await;
        measured.extend(self.reported());
        let line = |task: &Task| {
            let service = services.get(&task.service_id)?;
            let label = |name: &str| service.spec.labels.get(name).cloned().unwrap_or_default();
            let (cpu_millis, memory_bytes) = measured.get(&task.container_id).copied().unwrap_or_default();
            let process = label(labels::PROCESS);
            Some(TaskUsage {
                app: known.get(&label(labels::OWNER_UID))?.name.to_string(),
                replica: format!("{process}.{}", task.slot),
                process,
                node: node_name(&task.node_id),
                cpu_millis,
                memory_bytes,
            })
        };
        let mut tasks: Vec<TaskUsage> = running.iter().filter_map(line).collect();
        tasks.sort_by(|a, b| (&a.app, &a.process, &a.replica).cmp(&(&b.app, &b.process, &b.replica)));
        Ok(Usage { measured_at: self.clock.now(), node: node_name(&info.node_id), tasks })
    }
}

type Figures = (Option<i64>, Option<i64>);

impl EngineUsage {
    /// Figures that agents sent lately, by container.
    fn reported(&self) -> HashMap<String, Figures> {
        let Some(fleet) = &self.fleet else { return HashMap::new() };
        let heard = fleet.heard().into_values().filter(|heard| !fleet.is_silent(heard));
        heard.flat_map(|heard| heard.report.usage).map(|(id, usage)| (id, (usage.cpu_millis, usage.memory_bytes))).collect()
    }

    /// Figures by container. One that has just ended has none.
    async fn measured(&self, tasks: impl Iterator<Item = &Task>) -> HashMap<String, Figures> {
        let ids: Vec<String> = tasks.map(|task| task.container_id.clone()).collect();
        let one = |id: String| {
            let engine = self.engine.clone();
            async move {
                let usage = engine.container_usage(&id).await.ok()?;
                Some((id, (usage.cpu_millis, usage.memory_bytes)))
            }
        };
        let until = Box::pin(tokio::time::sleep(DEADLINE));
        stream::iter(ids).map(one).buffer_unordered(AT_ONCE).take_until(until).filter_map(std::future::ready).collect().await
    }
}

fn unavailable(error: EngineError) -> LogError {
    LogError::Unavailable { detail: error.to_string() }
}
