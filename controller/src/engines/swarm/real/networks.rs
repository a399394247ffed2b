//! Networks, and the addresses of this node's containers.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use bollard::models;
use bollard::query_parameters::{InspectNetworkOptions, ListNetworksOptions};

use super::services::no_id;
use super::{Call, DockerSwarm, EngineError, EngineResult, Network, NetworkSpec, Target, list_filter};
use crate::engines::swarm::convert;

/// The bridge on which every task that is on an overlay network has an address that this host reaches.
const GATEWAY_BRIDGE: &str = "docker_gwbridge";

impl DockerSwarm {
    pub(super) async fn networks(&self, name: &str) -> EngineResult<Vec<Network>> {
        let filter = if name.is_empty() { list_filter(name) } else { swarm_network(name) };
        let networks = self.raw_networks(Some(filter)).await?;
        let ours = networks.into_iter().filter_map(convert::network_from_engine);
        // Newer engines take a name as a part of one.
        Ok(ours.filter(|network| name.is_empty() || network.name == name).collect())
    }

    async fn raw_networks(&self, filters: Option<HashMap<String, Vec<String>>>) -> EngineResult<Vec<models::Network>> {
        let options = ListNetworksOptions { filters };
        let networks = self.read(Call::NetworkList, &Target::of("network list"), self.docker().list_networks(Some(options))).await?;
        let pairs = networks.iter().filter_map(|network| Some((network.id.as_deref()?, network.name.as_deref()?)));
        self.remember_networks(pairs);
        Ok(networks)
    }

    /// Learns the names of all networks.
    pub(super) async fn refresh_networks(&self) -> EngineResult<()> {
        self.raw_networks(Some(swarm_scope())).await.map(|_| ())
    }

    /// The id of a Swarm network, read anew: a network can be removed and made again under its name.
    pub(super) async fn network_id(&self, name: &str) -> EngineResult<String> {
        let networks = self.raw_networks(Some(swarm_network(name))).await?;
        let is_wanted = |network: &models::Network| network.name.as_deref() == Some(name) && network.ingress != Some(true);
        let found = networks.into_iter().find(is_wanted).and_then(|network| network.id);
        found.ok_or_else(|| EngineError::NotFound { what: format!("network {name}") })
    }

    pub(super) async fn create_network(&self, spec: &NetworkSpec) -> EngineResult<String> {
        let target = Target::new("network", &spec.name);
        let created = self.write(Call::NetworkCreate, &target, self.docker().create_network(convert::network_to_engine(spec))).await?;
        if created.id.is_empty() {
            return Err(no_id(&target));
        }
        self.remember_networks([(created.id.as_str(), spec.name.as_str())].into_iter());
        Ok(created.id)
    }

    pub(super) async fn addresses_on_gateway(&self) -> EngineResult<BTreeMap<String, IpAddr>> {
        let target = Target::new("network", GATEWAY_BRIDGE);
        let options = None::<InspectNetworkOptions>;
        match self.read(Call::NetworkInspect, &target, self.docker().inspect_network(GATEWAY_BRIDGE, options)).await {
            Ok(network) => Ok(convert::addresses_from_engine(network)),
            // The engine makes it with the first task that needs it.
            Err(EngineError::NotFound { .. }) => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }
}

fn swarm_network(name: &str) -> HashMap<String, Vec<String>> {
    let mut filters = swarm_scope();
    filters.insert("name".to_owned(), vec![name.to_owned()]);
    filters
}

fn swarm_scope() -> HashMap<String, Vec<String>> {
    HashMap::from([("scope".to_owned(), vec!["swarm".to_owned()])])
}
