//! The store, the engine and the proxy as what other parts ask for. Adapters only: no decision is here.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::api::ReadyCheck;
use crate::edge::inputs::Inputs;
use crate::edge::publisher::{Documents, RouteSource};
use crate::engines::swarm::SwarmEngine;
use crate::engines::traefik::ProxyApi;
use crate::runtime::lease::{Asked, Mark};
use crate::runtime::{BoxError, ElectorOptions, EventSink, LeaseStore};
use crate::store::{LeaseAnswer, LeaseClaim, NewEvent, Store};

/// Routes and their secrets from the database.
#[derive(Debug)]
pub(super) struct StoredRoutes(pub(super) Store);

#[async_trait]
impl RouteSource for StoredRoutes {
    async fn inputs(&self) -> Result<Inputs, BoxError> {
        Ok(self.0.edge_inputs().await?)
    }
}

/// Events to the database.
#[derive(Debug)]
pub(super) struct StoredEvents(pub(super) Store);

#[async_trait]
impl EventSink<NewEvent> for StoredEvents {
    async fn record(&self, event: &NewEvent, count: u32) -> Result<(), BoxError> {
        Ok(self.0.event_record_many(event, count).await?)
    }
}

/// The leader's lease in the database.
#[derive(Debug)]
pub(super) struct StoredLease(pub(super) Store);

#[async_trait]
impl LeaseStore for StoredLease {
    async fn acquire(&self, options: &ElectorOptions, dead: Option<&Mark>) -> Result<Asked, BoxError> {
        let ElectorOptions { name, holder, place, ttl } = options;
        let claim = LeaseClaim { name, holder, place, ttl: *ttl, dead: dead.map(|mark| mark.0.as_str()) };
        Ok(match self.0.lease_acquire(&claim).await? {
            LeaseAnswer::Ours(epoch) => Asked::Ours { epoch },
            LeaseAnswer::Theirs(mark) => Asked::Theirs(Mark(mark)),
        })
    }
    async fn renew(&self, name: &str, holder: &str, epoch: i64, ttl: Duration) -> Result<bool, BoxError> {
        Ok(self.0.lease_renew(name, holder, epoch, ttl).await?)
    }
    async fn release(&self, name: &str, holder: &str, epoch: i64) -> Result<(), BoxError> {
        Ok(self.0.lease_release(name, holder, epoch).await?)
    }
}

/// Ready when the database answers.
pub(super) struct StoreReady(pub(super) Store);

#[async_trait]
impl ReadyCheck for StoreReady {
    fn name(&self) -> &'static str {
        "database"
    }
    async fn check(&self) -> Result<(), String> {
        self.0.ping().await.map_err(|error| error.to_string())
    }
}

/// Ready when the engine answers and can be changed.
pub(super) struct EngineReady(pub(super) Arc<dyn SwarmEngine>);

#[async_trait]
impl ReadyCheck for EngineReady {
    fn name(&self) -> &'static str {
        "engine"
    }
    async fn check(&self) -> Result<(), String> {
        let info = self.0.info().await.map_err(|error| error.to_string())?;
        if info.is_manager { Ok(()) } else { Err(format!("the Swarm is {}, and this engine is no manager", info.swarm_state)) }
    }
}

/// Ready when there is a document and the proxy runs it.
pub(super) struct EdgeReady {
    pub(super) proxy: Arc<dyn ProxyApi>,
    pub(super) published: Documents,
}

#[async_trait]
impl ReadyCheck for EdgeReady {
    fn name(&self) -> &'static str {
        "edge"
    }
    async fn check(&self) -> Result<(), String> {
        if self.published.borrow().is_none() {
            return Err("there is no document for the proxy yet".to_owned());
        }
        match self.proxy.overview().await {
            Ok(overview) if overview.stamp.is_some() => Ok(()),
            Ok(_) => Err("the proxy has not taken a document yet".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}
