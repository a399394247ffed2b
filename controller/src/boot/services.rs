//! Services of somebody else for the API, read from the engine by the process that holds it.

use api_types::api::Drafts;
use api_types::{App, AppName, FieldError, OrgName, ProcessName};
use async_trait::async_trait;
use std::sync::Arc;
use uuid::Uuid;

use crate::api::{Adoptable, DraftQuery, ServiceError, ServiceSource};
use crate::engines::swarm::{EngineError, ServiceSelection, SwarmEngine};
use crate::kinds::app::adopt;
use crate::kinds::app::render::Owner;
use crate::store::AdoptionGrant;

/// Services of the engine.
pub(super) struct EngineServices(pub(super) Arc<dyn SwarmEngine>);

/// Services of a process that has no engine.
pub(super) struct NoServices;

fn no_engine() -> ServiceError {
    ServiceError::Unavailable { detail: "this server runs the API alone and has no engine; ask one that runs the controller".to_owned() }
}

#[async_trait]
impl ServiceSource for NoServices {
    async fn drafts(&self, _: &DraftQuery) -> Result<Drafts, ServiceError> {
        Err(no_engine())
    }
    async fn adoptable(&self, _: &App, _: Option<Uuid>, _: &ProcessName) -> Result<Option<Adoptable>, ServiceError> {
        Err(no_engine())
    }
}

fn unavailable(error: EngineError) -> ServiceError {
    ServiceError::Unavailable { detail: error.to_string() }
}

#[async_trait]
impl ServiceSource for EngineServices {
    async fn drafts(&self, query: &DraftQuery) -> Result<Drafts, ServiceError> {
        let mut services = Vec::new();
        for name in &query.services {
            let found = self.0.service_find(&ServiceSelection::Name(name.clone())).await.map_err(unavailable)?;
            if found.is_empty() {
                return Err(ServiceError::NotFound { detail: format!("there is no service \"{name}\" on the engine") });
            }
            services.extend(found);
        }
        if let Some(stack) = &query.stack {
            let found = self.0.service_find(&ServiceSelection::Stack(stack.clone())).await.map_err(unavailable)?;
            if found.is_empty() {
                return Err(ServiceError::NotFound {
                    detail: format!("there is no stack \"{stack}\" on the engine, or it has no service"),
                });
            }
            let known: Vec<String> = services.iter().map(|service| service.service.id.clone()).collect();
            services.extend(found.into_iter().filter(|service| !known.contains(&service.service.id)));
        }
        let base = query.app.as_ref().map_or_else(|| adopt::base(&services, query.stack.as_deref()), ToString::to_string);
        adopt::drafts(&base, &services).map_err(ServiceError::Refused)
    }

    async fn adoptable(&self, app: &App, uid: Option<Uuid>, process: &ProcessName) -> Result<Option<Adoptable>, ServiceError> {
        let names = app.metadata.org.clone().zip(app.metadata.name.parse::<AppName>().ok());
        let wanted = app.spec.processes.get(process).and_then(|process| Some((process, process.adopt.as_ref()?)));
        let (Some((org, name)), Some((spec, adopt))) = (names, wanted) else { return Ok(None) };
        let found = self.0.service_find(&ServiceSelection::Name(adopt.service.clone())).await.map_err(unavailable)?;
        let Some(found) = found.into_iter().next() else {
            return Err(ServiceError::NotFound { detail: format!("there is no service \"{}\" on the engine", adopt.service) });
        };
        let owner = uid.map(|uid| owner((&org, &name), uid));
        if owner.as_ref().is_some_and(|owner| owner.owns(&found.service.spec.labels)) {
            return Ok(None);
        }
        let refused = |message: String| {
            let path = format!("spec.processes.{process}.adopt.service");
            Err(ServiceError::Refused(vec![FieldError::new(path, format!("{} cannot be taken over: {message}", adopt.service))]))
        };
        if found.mode != "replicated" {
            return refused(format!("it is {}; only replicated services can be processes of an app", found.mode));
        }
        if spec.port.is_some() && !found.is_reachable() {
            return refused("it is on no overlay network, so the edge cannot reach its tasks; leave \"port\" out".to_owned());
        }
        if let Some(why) = adopt::refusal(owner.as_ref(), &app.spec, spec, &found.service) {
            return refused(why);
        }
        let observed = serde_json::to_value(&found.service).unwrap_or_default();
        let grant = AdoptionGrant { org, app: name, service: adopt.service.clone(), id: found.service.id.clone() };
        Ok(Some(Adoptable { grant, observed }))
    }
}

fn owner((org, app): (&OrgName, &AppName), uid: Uuid) -> Owner {
    Owner { org: org.clone(), app: app.clone(), uid, dnsrr: false }
}
