//! Which services an apply may take over: asked for by an administrator of the platform, looked at on the engine.
//!
//! Services are not a tenant's: whoever takes one over stops who made it from being its only owner. So the permission is given in
//! the request that names it, and is for the one service that was looked at, by its id.

use api_types::api::Role;
use api_types::problem::ProblemKind;
use api_types::{App, AppName, FieldError, Manifest};

use super::auth::Caller;
use super::error::{ApiError, ApiResult, in_item};
use super::state::{Adoptable, ServiceError};

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Unavailable { .. } => Self::new(ProblemKind::Unavailable, error.to_string()),
            ServiceError::NotFound { detail } => Self::not_found(detail),
            ServiceError::Refused(errors) => Self::invalid(errors),
        }
    }
}

/// Refuses everybody but administrators of the platform.
pub(super) fn permit(caller: &Caller) -> ApiResult<()> {
    caller.require_platform()?;
    caller.require(Role::Admin)
}

/// The services that the apps of a list name and do not have yet. `list` says that errors name the item.
pub(super) async fn adoptable(caller: &Caller, manifests: &[Manifest], list: bool) -> ApiResult<Vec<Adoptable>> {
    permit(caller)?;
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for (index, manifest) in manifests.iter().enumerate() {
        let Manifest::App(app) = manifest else { continue };
        match of_app(caller, app).await {
            Ok(services) => found.extend(services),
            Err(Failure::Fields(wrong)) => {
                errors.extend(wrong.into_iter().map(|error| if list { in_item(index, error) } else { error }));
            }
            Err(Failure::Other(error)) => return Err(error),
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(ApiError::invalid(errors)) }
}

enum Failure {
    Fields(Vec<FieldError>),
    Other(ApiError),
}

async fn of_app(caller: &Caller, app: &App) -> Result<Vec<Adoptable>, Failure> {
    let names = app.metadata.org.clone().zip(app.metadata.name.parse::<AppName>().ok());
    // Admission filled both in.
    let Some((org, name)) = names else { return Ok(Vec::new()) };
    let stored = caller.backend().app_get(&org, &name).await.map_err(|error| Failure::Other(error.into()))?;
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for (process, spec) in &app.spec.processes {
        let Some(adopt) = &spec.adopt else { continue };
        let known = stored.as_ref().is_some_and(|record| record.adopted.contains_key(&adopt.service));
        let path = format!("spec.processes.{process}.adopt.service");
        match caller.api().services.adoptable(app, stored.as_ref().map(|record| record.uid), process).await {
            Ok(service) => found.extend(service),
            // It was taken over once, and replaced since.
            Err(ServiceError::NotFound { .. }) if known => {}
            Err(ServiceError::NotFound { detail }) => errors.push(FieldError::new(path, detail)),
            Err(ServiceError::Refused(wrong)) => errors.extend(wrong),
            Err(error @ ServiceError::Unavailable { .. }) => return Err(Failure::Other(error.into())),
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(Failure::Fields(errors)) }
}
