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
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{DockerSwarm, EngineHint};

/// A connection that lasted this long was a good one: the next wait starts from the shortest again.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);

/// Hints that wait for a slow reader. When there are more, the connection is given up: a new `Connected`
/// says what the lost ones would have said.
const WAITING: usize = 1024;

type Events = BoxStream<'static, Result<EventMessage, Error>>;

enum State {
    Disconnected,
    Connected { hints: mpsc::Receiver<EngineHint>, since: Instant },
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
                            let state = State::Connected { hints: pump(events), since: Instant::now() };
                            return Some((EngineHint::Connected, (engine, state, failures)));
                        }
                        Err(error) => {
                            tracing::debug!(%error, failures, "no event stream from the engine");
                            failures = failures.saturating_add(1);
                            State::Disconnected
                        }
                    }
                }
                State::Connected { mut hints, since } => match hints.recv().await {
                    Some(hint) => return Some((hint, (engine, State::Connected { hints, since }, 0))),
                    None => {
                        failures = if since.elapsed() >= GOOD_CONNECTION { 1 } else { failures.saturating_add(1) };
                        State::Disconnected
                    }
                },
            };
        }
    })
    .boxed()
}

/// Reads events in a task of its own, so that the subscription is in force, and its end is noticed, however
/// late the hints are read. Dropping the receiver ends the task.
fn pump(mut events: Events) -> mpsc::Receiver<EngineHint> {
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                () = sender.closed() => return,
                event = events.next() => event,
            };
            match event {
                Some(Ok(event)) => {
                    if let Some(hint) = hint(&event)
                        && sender.try_send(hint).is_err()
                    {
                        return;
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "the engine's event stream ended");
                    return;
                }
                None => return,
            }
        }
    });
    receiver
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
        EventMessageTypeEnum::NETWORK => changed("network", attribute("name").map_or(id, str::to_owned)),
        EventMessageTypeEnum::SECRET => changed("secret", attribute("name").map_or(id, str::to_owned)),
        EventMessageTypeEnum::NODE => changed("node", id),
        EventMessageTypeEnum::CONTAINER => match action {
            "start" => Some(EngineHint::ContainerStarted { id }),
            "die" | "stop" | "destroy" => Some(EngineHint::ContainerGoing { id }),
            "kill" if ends_a_process(attribute("signal")) => {
                let service = attribute("com.docker.swarm.service.name").unwrap_or_default().to_owned();
                Some(EngineHint::ContainerKilled { id, service })
            }
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
        let killed = |service: &str| Some(EngineHint::ContainerKilled { id: "id1".into(), service: service.into() });
        let changed = |kind, name: &str| Some(EngineHint::Changed { kind, name: name.into() });
        let started = || Some(EngineHint::ContainerStarted { id: "id1".into() });
        let table = [
            (event(Kind::CONTAINER, "start", &[]), started()),
            (event(Kind::CONTAINER, "die", &[("exitCode", "0")]), going()),
            (event(Kind::CONTAINER, "stop", &[]), going()),
            (event(Kind::CONTAINER, "destroy", &[]), going()),
            (event(Kind::CONTAINER, "kill", &[("signal", "15")]), killed("")),
            (event(Kind::CONTAINER, "kill", &[("signal", "9"), ("com.docker.swarm.service.name", "shop-web")]), killed("shop-web")),
            (event(Kind::CONTAINER, "kill", &[]), killed("")),
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

    /// Answers `/info` and `/events`, each on a connection of its own.
    async fn serve(listener: tokio::net::UnixListener, event: &'static str) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; 4096];
            let read = stream.read(&mut buffer).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&buffer[..read]).into_owned();
            let body = if request.starts_with("GET /info") { r#"{"SystemTime":"2026-01-02T03:04:05.6Z"}"# } else { event };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    }

    #[tokio::test]
    async fn an_event_that_cannot_be_read_is_a_reconnection() {
        let folder = tempfile::tempdir().expect("folder");
        let socket = folder.path().join("engine.sock");
        let listener = tokio::net::UnixListener::bind(&socket).expect("socket");
        let events = "{\"Type\":\"node\",\"Action\":\"update\",\"Actor\":{\"ID\":\"n\"}}\n{\"Type\":\"comet\",\"Action\":\"create\"}\n";
        let server = tokio::spawn(serve(listener, events));
        let options = super::super::EngineOptions { reconnect_base: Duration::from_millis(1), ..Default::default() };
        let engine = DockerSwarm::connect(&format!("unix://{}", socket.display()), options).expect("client");
        let seen: Vec<EngineHint> = hints(engine).take(4).collect().await;
        server.abort();
        let node = EngineHint::Changed { kind: "node", name: "n".into() };
        assert_eq!(seen, [EngineHint::Connected, node.clone(), EngineHint::Connected, node]);
    }
}
