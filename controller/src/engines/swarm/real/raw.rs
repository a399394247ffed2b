//! Lists that the client library cannot read, or not whole.
//!
//! Its enums are closed: one word that a newer engine knows and we do not would hide a whole list, and a list
//! that cannot be read stops the reconciler for every app. Here the list is read as JSON, object by object. An
//! unknown task state becomes `starting` (alive, not serving); an object that stays unreadable fails the list
//! after all, because a missing object would count as absent.
//!
//! The library also looks for a service's own health check under a name that no engine writes (`HealthCheck`
//! for `Healthcheck`), and so never sees one. Whoever writes back what was read would take it off.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{HealthConfig, Service};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::{Address, Call, DockerSwarm, EngineError, EngineResult, ServiceHead, Target, list_filter};
use crate::engines::swarm::classify::classify;

/// Largest answer that is read.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// Whether an answer was a success that could not be decoded.
pub(super) fn is_unreadable(error: &EngineError) -> bool {
    matches!(error, EngineError::Other { status: 200, .. })
}

impl DockerSwarm {
    /// Reads a list object by object.
    pub(super) async fn list_leniently<T: DeserializeOwned>(
        &self,
        call: Call,
        target: &Target,
        path: &str,
        filters: &HashMap<String, Vec<String>>,
    ) -> EngineResult<Vec<T>> {
        let values = self.list_as_json(call, target, path, filters).await?;
        tracing::warn!(list = %target, "the engine's answer holds words that are not known here; read object by object");
        values.into_iter().map(|value| decode(target, value)).collect()
    }

    /// Services with all that they have.
    pub(super) async fn whole_services(
        &self,
        call: Call,
        target: &Target,
        filters: &HashMap<String, Vec<String>>,
    ) -> EngineResult<Vec<Service>> {
        let answer = self.list(call, target, "/services", filters).await?;
        let body = body_of(target, &answer)?;
        // Read twice, which is cheaper than once by way of a tree of values.
        if let Ok(mut services) = serde_json::from_slice::<Vec<Service>>(body)
            && let Ok(checks) = serde_json::from_slice::<Vec<Checked>>(body)
        {
            for (service, checked) in services.iter_mut().zip(checks) {
                let Some(check) = checked.spec.and_then(|spec| spec.template?.container?.health_check) else { continue };
                let template = service.spec.get_or_insert_default().task_template.get_or_insert_default();
                template.container_spec.get_or_insert_default().health_check = Some(check);
            }
            return Ok(services);
        }
        tracing::warn!(list = %target, "the engine's answer holds words that are not known here; read object by object");
        let values: Vec<Value> = serde_json::from_slice(body).map_err(|error| unreadable(target, &error))?;
        values.into_iter().map(|value| decode(target, with_health_check(value))).collect()
    }

    /// All services with our label, read no further than their labels.
    pub(super) async fn heads_of_services(&self) -> EngineResult<Vec<ServiceHead>> {
        let target = Target::of("service list");
        let answer = self.list(Call::ServiceList, &target, "/services", &list_filter("")).await?;
        let heads: Vec<RawHead> = serde_json::from_slice(body_of(&target, &answer)?).map_err(|error| unreadable(&target, &error))?;
        let head = |raw: RawHead| ServiceHead { id: raw.id, version: raw.version.index, labels: raw.spec.labels.unwrap_or_default() };
        Ok(heads.into_iter().map(head).collect())
    }

    async fn list_as_json(
        &self,
        call: Call,
        target: &Target,
        path: &str,
        filters: &HashMap<String, Vec<String>>,
    ) -> EngineResult<Vec<Value>> {
        let answer = self.list(call, target, path, filters).await?;
        serde_json::from_slice(body_of(target, &answer)?).map_err(|error| unreadable(target, &error))
    }

    /// The engine's answer to the question for a list, head and all.
    async fn list(&self, call: Call, target: &Target, path: &str, filters: &HashMap<String, Vec<String>>) -> EngineResult<Vec<u8>> {
        let filters = serde_json::to_string(filters).unwrap_or_default();
        let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("filters", &filters).finish();
        let request = format!("GET {path}?{query} HTTP/1.0\r\nHost: docker\r\nConnection: close\r\n\r\n");
        self.inner.options.metrics.count(call, self.ask(target, &request)).await
    }

    async fn ask(&self, target: &Target, request: &str) -> EngineResult<Vec<u8>> {
        let deadline = self.inner.options.read_deadline;
        let unreachable = |message: String| EngineError::Unreachable { what: target.to_string(), message };
        match tokio::time::timeout(deadline, exchange(&self.inner.address, request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(unreachable(error.to_string())),
            Err(_) => Err(unreachable(format!("no answer within {deadline:?}"))),
        }
    }
}

#[derive(Deserialize)]
struct RawHead {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Version")]
    version: RawVersion,
    #[serde(rename = "Spec")]
    spec: RawLabels,
}

#[derive(Deserialize)]
struct RawVersion {
    #[serde(rename = "Index")]
    index: u64,
}

#[derive(Deserialize)]
struct RawLabels {
    #[serde(rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

/// A service's own health check, where the engine writes it.
#[derive(Deserialize)]
struct Checked {
    #[serde(rename = "Spec")]
    spec: Option<CheckedSpec>,
}

#[derive(Deserialize)]
struct CheckedSpec {
    #[serde(rename = "TaskTemplate")]
    template: Option<CheckedTemplate>,
}

#[derive(Deserialize)]
struct CheckedTemplate {
    #[serde(rename = "ContainerSpec")]
    container: Option<CheckedContainer>,
}

#[derive(Deserialize)]
struct CheckedContainer {
    #[serde(rename = "Healthcheck")]
    health_check: Option<HealthConfig>,
}

/// HTTP/1.0, so that the engine does not send the answer in chunks.
async fn exchange(address: &Address, request: &str) -> std::io::Result<Vec<u8>> {
    match address {
        Address::Unix(path) => converse(UnixStream::connect(path).await?, request).await,
        Address::Tcp(authority) => converse(TcpStream::connect(authority).await?, request).await,
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> std::io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn body_of<'a>(target: &Target, answer: &'a [u8]) -> EngineResult<&'a [u8]> {
    let malformed = || EngineError::Unreachable { what: target.to_string(), message: "the answer is not HTTP".to_owned() };
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(malformed)?;
    let (head, body) = answer.split_at(split);
    let body = body.get(4..).unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(malformed)?;
    if status == 200 { Ok(body) } else { Err(classify(target, status, &String::from_utf8_lossy(body))) }
}

fn decode<T: DeserializeOwned>(target: &Target, value: Value) -> EngineResult<T> {
    match serde_json::from_value(value.clone()) {
        Ok(object) => Ok(object),
        Err(_) => serde_json::from_value(with_known_states(value)).map_err(|error| unreadable(target, &error)),
    }
}

/// A service with its health check where the library looks for it.
fn with_health_check(mut service: Value) -> Value {
    let container = service.pointer_mut("/Spec/TaskTemplate/ContainerSpec").and_then(Value::as_object_mut);
    if let Some(container) = container
        && let Some(check) = container.remove("Healthcheck")
    {
        container.insert("HealthCheck".to_owned(), check);
    }
    service
}

/// Replaces states which are not known: a task's, and that of the engine's own updater, which is not in play.
fn with_known_states(mut value: Value) -> Value {
    let known = |state: &Value| serde_json::from_value::<bollard::models::TaskState>(state.clone()).is_ok();
    if let Some(state) = value.pointer_mut("/Status/State").filter(|state| !known(state)) {
        *state = Value::from("starting");
    }
    if let Some(state) = value.pointer_mut("/DesiredState").filter(|state| !known(state)) {
        *state = Value::from("shutdown");
    }
    let updater = value.pointer("/UpdateStatus/State").cloned();
    if updater.is_some_and(|state| serde_json::from_value::<bollard::models::ServiceUpdateStatusStateEnum>(state).is_err())
        && let Some(object) = value.as_object_mut()
    {
        object.remove("UpdateStatus");
    }
    value
}

fn unreadable(target: &Target, error: &serde_json::Error) -> EngineError {
    EngineError::Other { what: target.to_string(), status: 200, message: format!("the answer cannot be read: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::swarm::real::EngineOptions;
    use crate::engines::swarm::{SwarmEngine, TaskState};
    use tokio::net::UnixListener;

    /// Answers every request on a socket with one body.
    async fn serve(listener: UnixListener, body: String) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; 4096];
            let mut read = 0;
            while !buffer[..read].windows(4).any(|window| window == b"\r\n\r\n") {
                match stream.read(&mut buffer[read..]).await {
                    Ok(0) | Err(_) => break,
                    Ok(n) => read += n,
                }
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    }

    #[test]
    fn a_services_own_health_check_is_read() {
        let spec = serde_json::json!({"Name": "web", "TaskTemplate": {"ContainerSpec": {"Healthcheck": {"Test": ["CMD", "true"]}}}});
        let service = serde_json::json!({"ID": "a", "Version": {"Index": 3}, "Spec": spec});
        let test_of = |service: Service| service.spec?.task_template?.container_spec?.health_check?.test;
        let target = Target::of("service list");
        assert_eq!(test_of(decode(&target, service.clone()).expect("a service")), None, "the library reads it now: this can go");
        let whole = decode(&target, with_health_check(service)).expect("a service");
        assert_eq!(test_of(whole), Some(vec!["CMD".to_owned(), "true".to_owned()]));
    }

    #[tokio::test]
    async fn a_list_of_services_has_their_own_health_checks() {
        let folder = tempfile::tempdir().expect("folder");
        let socket = folder.path().join("engine.sock");
        let listener_at = |path: &std::path::Path| {
            // The one before left its name behind.
            let _ = std::fs::remove_file(path);
            UnixListener::bind(path).expect("socket")
        };
        let spec = |check: Value| serde_json::json!({"TaskTemplate": {"ContainerSpec": check}});
        let mut body = serde_json::json!([
            {"ID": "a", "Spec": spec(serde_json::json!({"Image": "one"}))},
            {"ID": "b", "Spec": spec(serde_json::json!({"Image": "two", "Healthcheck": {"Test": ["CMD", "true"]}}))},
            {"ID": "c"},
        ]);
        for round in ["as it is", "with a word that is not known"] {
            let server = tokio::spawn(serve(listener_at(&socket), body.to_string()));
            let engine = DockerSwarm::connect(&format!("unix://{}", socket.display()), EngineOptions::default()).expect("client");
            let services = engine.whole_services(Call::ServiceList, &Target::of("service list"), &HashMap::new()).await.expect("services");
            server.abort();
            let check = |at: usize| services[at].spec.clone()?.task_template?.container_spec?.health_check?.test;
            assert_eq!((check(0), check(1), check(2)), (None, Some(vec!["CMD".to_owned(), "true".to_owned()]), None), "{round}");
            body[2]["UpdateStatus"] = serde_json::json!({"State": "levitating"});
        }
    }

    #[tokio::test]
    async fn one_unknown_state_does_not_hide_the_other_tasks() {
        let folder = tempfile::tempdir().expect("folder");
        let socket = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).expect("socket");
        let body = serde_json::json!([
            {"ID": "a", "ServiceID": "s", "Slot": 1, "Status": {"State": "running"}, "DesiredState": "running"},
            {"ID": "b", "ServiceID": "s", "Slot": 2, "Status": {"State": "levitating"}, "DesiredState": "hovering"},
        ]);
        let server = tokio::spawn(serve(listener, body.to_string()));
        let engine = DockerSwarm::connect(&format!("unix://{}", socket.display()), EngineOptions::default()).expect("client");
        let tasks = engine.task_list(&["s".to_owned()]).await.expect("tasks");
        server.abort();
        assert!(tasks[0].is_running());
        assert_eq!(tasks[1].state, TaskState::Starting);
        assert!(!tasks[1].is_wanted());
    }
}
