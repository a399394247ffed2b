//! Whether containers ran out of memory.
//!
//! Swarm does not say it: its tasks show exit code 137, which any SIGKILL leaves. The node's own engine knows, by an
//! event when it happens and in the container's state afterwards, as long as the container is there.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use bollard::query_parameters::InspectContainerOptions;

use super::{Call, DockerSwarm, EngineError, EngineResult, Target};

/// Containers whose end is remembered; more than all apps of one node crash through in a day.
const MOST: usize = 20_000;

/// How containers ended, by id. Ids are never reused and an end is final, so an entry stays true.
#[derive(Debug, Default)]
pub(super) struct Ends(RwLock<HashMap<String, Option<bool>>>);

impl Ends {
    fn get(&self, id: &str) -> Option<Option<bool>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(id).copied()
    }

    pub(super) fn put(&self, id: &str, out_of_memory: Option<bool>) {
        let mut ends = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if ends.len() >= MOST {
            ends.clear();
        }
        ends.insert(id.to_owned(), out_of_memory);
    }
}

impl DockerSwarm {
    pub(super) async fn container_ran_out_of_memory(&self, id: &str) -> EngineResult<Option<bool>> {
        if let Some(known) = self.inner.ends.get(id) {
            return Ok(known);
        }
        let target = Target::new("container", id);
        let answer = self.docker().inspect_container(id, None::<InspectContainerOptions>);
        let found = match self.read(Call::ContainerInspect, &target, answer).await {
            Ok(container) => container.state,
            Err(EngineError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let running = found.as_ref().and_then(|state| state.running).unwrap_or(false);
        let out_of_memory = found.and_then(|state| state.oom_killed);
        if !running {
            self.inner.ends.put(id, out_of_memory);
        }
        Ok(out_of_memory)
    }
}
