//! Moves a [`Model`] forward as if a step had worked, or as if a wait had ended well. Pure; this is what
//! lets a whole plan be known in advance.

use super::desired::Desired;
use super::model::{EdgeModel, Model, ServiceModel};
use super::plan::{Gate, Step};

impl Model {
    /// As if `step` had been done.
    pub fn take(&mut self, desired: &Desired, step: &Step) {
        match step {
            Step::ResolveImage { .. } => self.resolved = true,
            Step::CreateNetwork { name } => self.network = Some(name.clone()),
            Step::CreateSecret { name, .. } => {
                self.secrets.insert(name.clone(), name.clone());
            }
            Step::CreateService { process, release, replicas, .. } => {
                let name = desired.target.processes.get(process).map(|target| target.service.name.clone()).unwrap_or_default();
                let service = ServiceModel {
                    id: name.clone(),
                    name,
                    version: 0,
                    replicas: *replicas,
                    ready: 0,
                    settled: 0,
                    live: *replicas,
                    differences: Vec::new(),
                    left_over: false,
                    adopted: false,
                };
                self.services.insert((process.clone(), release.clone()), service);
            }
            Step::AdoptService { process, release, service } => {
                let replicas = self.candidates.remove(process).map_or(0, |candidate| candidate.replicas);
                let taken = ServiceModel {
                    id: service.clone(),
                    name: service.clone(),
                    version: 0,
                    replicas,
                    ready: 0,
                    settled: 0,
                    live: replicas,
                    differences: Vec::new(),
                    left_over: false,
                    adopted: true,
                };
                self.services.insert((process.clone(), release.clone()), taken);
            }
            Step::UpdateService { process, release, .. } => {
                if let Some(service) = self.services.get_mut(&(process.clone(), release.clone())) {
                    service.differences.clear();
                }
            }
            Step::ScaleService { process, release, to, .. } => {
                if let Some(service) = self.services.get_mut(&(process.clone(), release.clone())) {
                    service.replicas = *to;
                    service.ready = service.ready.min(*to);
                    service.settled = service.settled.min(*to);
                }
            }
            Step::PublishRoute { route, .. } => {
                self.route = Some(route.as_ref().clone());
                self.edge_follows();
            }
            Step::WithdrawRoute => self.route = None,
            Step::RemoveService { process, release } => {
                // Its tasks outlive it; they are waited for.
                if let Some(service) = self.services.remove(&(process.clone(), release.clone())) {
                    self.departing = self.departing.saturating_add(service.live);
                }
            }
            Step::RemoveSecret { name } => {
                self.secrets.remove(name);
            }
            Step::RemoveNetwork { .. } => self.network = None,
            Step::Finalize => {}
        }
    }

    /// As if what `gate` waits for had come. Returns whether that changed anything.
    pub fn assume(&mut self, gate: &Gate) -> bool {
        let before = self.clone();
        match gate {
            Gate::Paused { .. } => self.paused = None,
            Gate::Held { .. } | Gate::EngineUnknown | Gate::NameTaken { .. } | Gate::AdoptionRefused { .. } | Gate::Failed => {}
            Gate::StoreBehind { .. } => {}
            Gate::TasksReady { .. } => {
                for service in self.services.values_mut() {
                    service.ready = service.replicas;
                    service.settled = service.replicas;
                    service.live = service.replicas;
                }
                self.edge_follows();
            }
            Gate::TasksGone { .. } => {
                for service in self.services.values_mut() {
                    service.live = service.replicas;
                }
                self.departing = 0;
            }
            Gate::EdgeServes { .. } => self.edge_follows(),
            Gate::EdgeWithdrawn => self.edge = EdgeModel::Absent,
            Gate::HealthWindow => self.stable = true,
            Gate::Proof => self.proven = true,
        }
        *self != before
    }

    /// The proxy sends requests to every ready task of the routed releases.
    fn edge_follows(&mut self) {
        let Some(route) = &self.route else { return };
        let backends = self
            .services
            .iter()
            .filter(|((process, release), service)| *process == route.process && route.releases.contains(release) && service.ready > 0)
            .map(|((_, release), service)| (release.clone(), service.ready))
            .collect();
        self.edge = EdgeModel::Serves { hosts_current: true, backends, strangers: 0 };
    }
}
