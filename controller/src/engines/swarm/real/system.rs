//! What the engine says of itself, and making a Swarm of it.

use api_types::kinds::node::Availability;
use bollard::models;
use bollard::query_parameters::UpdateNodeOptions;

use super::{Call, DockerSwarm, EngineInfo, EngineResult, SwarmInit, SwarmNode, Target, within};
use crate::engines::swarm::convert;

impl DockerSwarm {
    pub(super) async fn engine_info(&self) -> EngineResult<EngineInfo> {
        let target = Target::of("engine info");
        let (info, version) = tokio::try_join!(
            self.read(Call::EngineInfo, &target, self.docker().info()),
            self.read(Call::EngineInfo, &target, self.docker().version())
        )?;
        let swarm = info.swarm.unwrap_or_default();
        Ok(EngineInfo {
            version: info.server_version.or(version.version).unwrap_or_default(),
            api_version: version.api_version.unwrap_or_default(),
            node_id: swarm.node_id.unwrap_or_default(),
            cluster_id: swarm.cluster.and_then(|cluster| cluster.id).unwrap_or_default(),
            swarm_state: swarm.local_node_state.map(|state| state.to_string()).unwrap_or_default(),
            is_manager: swarm.control_available.unwrap_or(false),
        })
    }

    /// The engine's own wall time as it takes it in `since`: seconds and nanoseconds of the epoch.
    pub(super) async fn engine_time(&self) -> EngineResult<Option<String>> {
        let info = self.read(Call::EngineInfo, &Target::of("engine info"), self.docker().info()).await?;
        let time = info.system_time.and_then(|text| chrono::DateTime::parse_from_rfc3339(&text).ok());
        Ok(time.map(|time| format!("{}.{:09}", time.timestamp(), time.timestamp_subsec_nanos())))
    }

    /// Whether tasks may ask for an init process. An engine without the binary says so in `InitCommit`.
    pub(super) async fn has_init(&self) -> EngineResult<bool> {
        let known = self.inner.has_init.get_or_try_init(|| async {
            let info = self.read(Call::EngineInfo, &Target::of("engine info"), self.docker().info()).await?;
            let named = info.init_binary.is_some_and(|binary| !binary.is_empty());
            let answers = info.init_commit.and_then(|commit| commit.id).is_some_and(|id| id != "N/A");
            Ok(named && answers)
        });
        known.await.copied()
    }

    pub(super) async fn swarm_init(&self, init: &SwarmInit) -> EngineResult<()> {
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        let request = models::SwarmInitRequest {
            listen_addr: some(&init.listen_addr).or_else(|| Some("0.0.0.0:2377".to_owned())),
            advertise_addr: some(&init.advertise_addr),
            default_addr_pool: (!init.address_pools.is_empty()).then(|| init.address_pools.clone()),
            subnet_size: (init.subnet_size > 0).then_some(init.subnet_size),
            ..Default::default()
        };
        let (target, options) = (Target::of("Swarm"), &self.inner.options);
        let answer = within(&target, options.write_deadline, self.docker().init_swarm(request));
        options.metrics.count(Call::SwarmInit, answer).await.map(drop)
    }

    pub(super) async fn nodes(&self) -> EngineResult<Vec<SwarmNode>> {
        let options = None::<bollard::query_parameters::ListNodesOptions>;
        let nodes = self.read(Call::NodeList, &Target::of("node list"), self.docker().list_nodes(options)).await?;
        Ok(nodes.into_iter().map(convert::node_from_engine).collect())
    }

    /// From the spec as it is now: an update replaces it whole.
    pub(super) async fn set_node_availability(&self, id: &str, availability: Availability) -> EngineResult<()> {
        let target = Target::new("node", id);
        let node = self.read(Call::NodeList, &target, self.docker().inspect_node(id)).await?;
        let version = node.version.and_then(|version| version.index).and_then(|index| i64::try_from(index).ok()).unwrap_or(0);
        let wanted = match availability {
            Availability::Active => models::NodeSpecAvailabilityEnum::ACTIVE,
            Availability::Drain => models::NodeSpecAvailabilityEnum::DRAIN,
        };
        let spec = models::NodeSpec { availability: Some(wanted), ..node.spec.unwrap_or_default() };
        self.write(Call::NodeUpdate, &target, self.docker().update_node(id, spec, UpdateNodeOptions { version })).await
    }
}
