//! The engine's events as hints.
//!
//! Events get lost (the engine keeps the last 256), so nothing may depend on one: each connection begins with
//! [`EngineHint::Connected`], which means "look at everything". An event that the client library cannot read
//! ends its stream; that is a reconnection like any other. The stream never ends by itself.

use std::collections::HashMap;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::EventsOptions;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::time::Instant;

use super::{DockerSwarm, EngineHint};

/// A connection that lasted this long was a good one: the next wait starts from the shortest again.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);

type Events = BoxStream<'static, Result<EventMessage, Error>>;

enum State {
    Disconnected,
    Connected { events: Events, since: Instant },
}

/// Hints for ever.
pub(super) fn hints(engine: DockerSwarm) -> BoxStream<'static, EngineHint> {
    let start = (engine, State::Disconnected, 0u32);
    stream::unfold(start, |(engine, mut state, mut failures)| async move {
        loop {
            state = match state {
                State::Disconnected => {
                    if failures > 0 {
                        tokio::time::sleep(wait(&engine, failures)).await;
                    }
                    match connect(&engine).await {
                        Ok(events) => {
                            let state = State::Connected { events, since: Instant::now() };
                            return Some((EngineHint::Connected, (engine, state, failures)));
                        }
                        Err(error) => {
                            tracing::debug!(%error, failures, "no event stream from the engine");
                            failures = failures.saturating_add(1);
                            State::Disconnected
                        }
                    }
                }
                State::Connected { mut events, since } => match events.next().await {
                    Some(Ok(event)) => match hint(&event) {
                        Some(hint) => return Some((hint, (engine, State::Connected { events, since }, 0))),
                        None => State::Connected { events, since },
                    },
                    end => {
                        if let Some(Err(error)) = end {
                            tracing::debug!(%error, "the engine's event stream ended");
                        }
                        failures = if since.elapsed() >= GOOD_CONNECTION { 1 } else { failures.saturating_add(1) };
                        State::Disconnected
                    }
                },
            };
        }
    })
    .boxed()
}

/// Subscribes from the engine's own "now": the client library does not say when a subscription is in force,
/// so what happens between this question and that moment is replayed by the engine.
async fn connect(engine: &DockerSwarm) -> Result<Events, super::EngineError> {
    let since = engine.engine_time().await?;
    let types = ["service", "container", "network", "secret", "node"];
    let actions = ["create", "update", "remove", "start", "die", "kill", "stop", "destroy", "oom"];
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let filters = HashMap::from([("type".to_owned(), owned(&types)), ("event".to_owned(), owned(&actions))]);
    let options = EventsOptions { since, until: None, filters: Some(filters) };
    Ok(engine.docker().events(Some(options)).boxed())
}

/// Exponential, capped, with half of it jitter so that several controllers do not come at once.
fn wait(engine: &DockerSwarm, failures: u32) -> Duration {
    let options = &engine.inner.options;
    let factor = 2u32.saturating_pow(failures.saturating_sub(1).min(16));
    let full = options.reconnect_base.saturating_mul(factor).min(options.reconnect_cap);
    full.mul_f64(0.5 + 0.5 * options.entropy.unit())
}

/// What an event hints at; `None` for one that means nothing here.
fn hint(event: &EventMessage) -> Option<EngineHint> {
    let action = event.action.as_deref()?;
    let actor = event.actor.as_ref()?;
    let id = actor.id.clone().unwrap_or_default();
    let attribute = |key: &str| actor.attributes.as_ref().and_then(|attributes| attributes.get(key)).map(String::as_str);
    let changed = |kind: &'static str, name: String| Some(EngineHint::Changed { kind, name });
    match event.typ? {
        EventMessageTypeEnum::SERVICE => changed("service", attribute("name").map_or(id, str::to_owned)),
        EventMessageTypeEnum::NETWORK => changed("network", id),
        EventMessageTypeEnum::SECRET => changed("secret", id),
        EventMessageTypeEnum::NODE => changed("node", id),
        EventMessageTypeEnum::CONTAINER => match action {
            "start" => Some(EngineHint::ContainerStarted { id }),
            "die" | "stop" | "destroy" => Some(EngineHint::ContainerGoing { id }),
            "kill" if ends_a_process(attribute("signal")) => Some(EngineHint::ContainerGoing { id }),
            // A process that ran out of memory may live on: it is the kernel's choice which one dies.
            "oom" => changed("container", id),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a signal announces the end. An app may take HUP or USR1 for other things; WINCH and RTMIN+3 are
/// how the images of httpd and systemd ask to be stopped. An absent signal is taken for the worst.
fn ends_a_process(signal: Option<&str>) -> bool {
    const ENDING: [&str; 6] = ["2", "3", "9", "15", "28", "37"];
    signal.is_none_or(|signal| ENDING.contains(&signal))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventMessageTypeEnum, action: &str, attributes: &[(&str, &str)]) -> EventMessage {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        EventMessage {
            typ: Some(kind),
            action: Some(action.to_owned()),
            actor: Some(bollard::models::EventActor { id: Some("id1".to_owned()), attributes: Some(attributes) }),
            ..Default::default()
        }
    }

    #[test]
    fn events_are_hints_by_table() {
        use EventMessageTypeEnum as Kind;
        let going = || Some(EngineHint::ContainerGoing { id: "id1".into() });
        let changed = |kind, name: &str| Some(EngineHint::Changed { kind, name: name.into() });
        let started = || Some(EngineHint::ContainerStarted { id: "id1".into() });
        let table = [
            (event(Kind::CONTAINER, "start", &[]), started()),
            (event(Kind::CONTAINER, "die", &[("exitCode", "0")]), going()),
            (event(Kind::CONTAINER, "stop", &[]), going()),
            (event(Kind::CONTAINER, "destroy", &[]), going()),
            (event(Kind::CONTAINER, "kill", &[("signal", "15")]), going()),
            (event(Kind::CONTAINER, "kill", &[("signal", "9")]), going()),
            (event(Kind::CONTAINER, "kill", &[]), going()),
            (event(Kind::CONTAINER, "kill", &[("signal", "1")]), None),
            (event(Kind::CONTAINER, "kill", &[("signal", "10")]), None),
            (event(Kind::CONTAINER, "exec_start: sh", &[]), None),
            (event(Kind::CONTAINER, "oom", &[]), changed("container", "id1")),
            (event(Kind::SERVICE, "update", &[("name", "shop-web")]), changed("service", "shop-web")),
            (event(Kind::SERVICE, "remove", &[]), changed("service", "id1")),
            (event(Kind::NODE, "update", &[("name", "n")]), changed("node", "id1")),
            (event(Kind::NETWORK, "remove", &[]), changed("network", "id1")),
            (event(Kind::SECRET, "create", &[]), changed("secret", "id1")),
            (event(Kind::IMAGE, "pull", &[]), None),
            (EventMessage::default(), None),
        ];
        for (event, want) in table {
            assert_eq!(hint(&event), want, "{event:?}");
        }
    }
}
