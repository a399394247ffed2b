//! The loop against real sockets on loopback; only the engine's lists are a test's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::testing::{TestNode, task};
use super::{Endpoints, EndpointsConfig, spawn_from};
use crate::clock::{SeededEntropy, SystemClock};
use crate::edge::{Check, EndpointTable};
use crate::engines::swarm::{EngineHint, labels};

fn start(node: &Arc<TestNode>, config: EndpointsConfig) -> Endpoints {
    spawn_from(node.clone(), SystemClock::shared(), Arc::new(SeededEntropy::new(1)), config, CancellationToken::new())
}

fn config() -> EndpointsConfig {
    EndpointsConfig { resync: Duration::from_millis(400), lost_after: Duration::from_millis(600), ..EndpointsConfig::default() }
}

/// A server on an address of its own; answers 200 or 500, and is closed when dropped.
struct Backend {
    address: SocketAddr,
    healthy: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Backend {
    async fn start(ip: &str) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.expect("binds");
        let address = listener.local_addr().expect("has an address");
        let healthy = Arc::new(AtomicBool::new(true));
        let state = healthy.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0u8; 1024]).await;
                let line: &[u8] = if state.load(Ordering::SeqCst) { b"HTTP/1.1 200 OK\r\n\r\n" } else { b"HTTP/1.1 500 No\r\n\r\n" };
                let _ = stream.write_all(line).await;
            }
        });
        Self { address, healthy, task }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn put(node: &TestNode, id: &str, address: SocketAddr, health: Option<&str>) {
    node.edit(|state| {
        let mut task = task(id, &format!("c-{id}"), address.port());
        if let Some(health) = health {
            task.container_labels.insert(labels::HEALTH.to_owned(), health.to_owned());
        }
        state.tasks.retain(|old| old.id != id);
        state.tasks.push(task);
        state.gateways.insert(format!("c-{id}"), address.ip());
    });
}

/// Waits until the table is as wanted, and tells how long that took.
async fn until(endpoints: &mut Endpoints, what: &str, want: impl Fn(&EndpointTable) -> bool) -> Duration {
    let start = Instant::now();
    let seen = timeout(Duration::from_secs(5), endpoints.table.wait_for(|table| want(table))).await.map(|seen| seen.is_ok());
    assert_eq!(seen, Ok(true), "{what}: {:?}", endpoints.table.borrow());
    start.elapsed()
}

fn ready(table: &EndpointTable, id: &str) -> bool {
    table.endpoints.get(id).is_some_and(|endpoint| endpoint.ready)
}

const EVERY_500MS: &str = r#"{"path":"/up","interval":"500ms","timeout":"300ms","failureThreshold":2}"#;

#[tokio::test]
async fn a_task_becomes_ready_and_a_sick_one_leaves_after_its_threshold() {
    let (node, backend) = (TestNode::new(), Backend::start("127.0.7.1").await);
    let mut endpoints = start(&node, config());
    until(&mut endpoints, "an empty engine is known", |table| table.observed_at.is_some() && table.endpoints.is_empty()).await;
    put(&node, "t1", backend.address, Some(EVERY_500MS));
    node.hint(EngineHint::ContainerStarted { id: "c-t1".to_owned() });
    let took = until(&mut endpoints, "ready", |table| ready(table, "t1")).await;
    assert!(took < Duration::from_millis(300), "{took:?}");
    assert_eq!(endpoints.table.borrow().endpoints["t1"].last_check, Check::Passed);

    backend.healthy.store(false, Ordering::SeqCst);
    until(&mut endpoints, "one failure is noted", |table| matches!(table.endpoints["t1"].last_check, Check::Failed { .. })).await;
    assert!(ready(&endpoints.table.borrow(), "t1"), "one failure of two does not take it out");
    until(&mut endpoints, "two take it out", |table| !ready(table, "t1")).await;
    let want = Check::Failed { detail: format!("GET http://{}/up answered 500", backend.address) };
    assert_eq!(endpoints.table.borrow().endpoints["t1"].last_check, want);
    backend.healthy.store(true, Ordering::SeqCst);
    until(&mut endpoints, "one success brings it back", |table| ready(table, "t1")).await;
}

#[tokio::test]
async fn a_going_container_leaves_before_any_read_and_stays_out_although_the_engine_still_lists_it() {
    let (node, backend) = (TestNode::new(), Backend::start("127.0.7.2").await);
    put(&node, "t1", backend.address, None);
    let mut endpoints = start(&node, EndpointsConfig { going_for: Duration::from_secs(2), ..config() });
    until(&mut endpoints, "ready", |table| ready(table, "t1")).await;
    node.edit(|state| state.slow = Duration::from_millis(150));
    let before = node.reads();
    node.hint(EngineHint::ContainerGoing { id: "c-t1".to_owned() });
    let took = until(&mut endpoints, "gone", |table| table.endpoints.is_empty()).await;
    eprintln!("removed {took:?} after the event");
    assert!(took < Duration::from_millis(20), "{took:?}");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(node.reads() > before + 1, "the engine was read again");
    assert!(endpoints.table.borrow().endpoints.is_empty(), "and still lists it");
    // It only got a signal: the engine goes on to show it running and attached.
    until(&mut endpoints, "back", |table| ready(table, "t1")).await;
}

#[tokio::test]
async fn an_event_during_a_read_is_not_undone_by_it() {
    let (node, backend) = (TestNode::new(), Backend::start("127.0.7.3").await);
    put(&node, "t1", backend.address, None);
    node.edit(|state| state.slow = Duration::from_millis(200));
    let mut endpoints = start(&node, config());
    tokio::time::sleep(Duration::from_millis(80)).await;
    node.hint(EngineHint::ContainerGoing { id: "c-t1".to_owned() });
    until(&mut endpoints, "read", |table| table.observed_at.is_some()).await;
    assert!(endpoints.table.borrow().endpoints.is_empty());
}

#[tokio::test]
async fn a_lost_engine_removes_nothing_but_trusts_nothing_new() {
    let (node, backend, other) = (TestNode::new(), Backend::start("127.0.7.4").await, Backend::start("127.0.7.5").await);
    put(&node, "t1", backend.address, Some(EVERY_500MS));
    put(&node, "t2", other.address, Some(EVERY_500MS));
    let mut endpoints = start(&node, config());
    until(&mut endpoints, "ready", |table| ready(table, "t1") && ready(table, "t2")).await;
    node.edit(|state| state.down = true);
    until(&mut endpoints, "unknown", |table| table.observed_at.is_none()).await;
    assert!(ready(&endpoints.table.borrow(), "t1"), "nothing was removed");
    // Whoever does not answer now is dropped at once, and an answer does not bring it back: it may be another's.
    backend.healthy.store(false, Ordering::SeqCst);
    until(&mut endpoints, "dropped", |table| !ready(table, "t1")).await;
    assert!(ready(&endpoints.table.borrow(), "t2"));
    backend.healthy.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!ready(&endpoints.table.borrow(), "t1"), "an unconfirmed address came back");
    node.edit(|state| state.down = false);
    node.hint(EngineHint::Connected);
    until(&mut endpoints, "known again", |table| table.observed_at.is_some() && ready(table, "t1")).await;
}

#[tokio::test]
async fn a_burst_of_hints_costs_few_reads_and_slow_reads_are_rested_from() {
    let node = TestNode::new();
    let mut endpoints = start(&node, EndpointsConfig { resync: Duration::from_secs(60), ..config() });
    until(&mut endpoints, "known", |table| table.observed_at.is_some()).await;
    node.edit(|state| {
        state.slow = Duration::from_millis(100);
        state.reads = 0;
    });
    let end = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < end {
        node.hint(EngineHint::Changed { kind: "service", name: "x".to_owned() });
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // 100 ms of work, 300 ms of rest: at most five in 1.5 s.
    let reads = node.reads();
    assert!((3..=5).contains(&reads), "{reads} reads");
}

#[tokio::test]
async fn hanging_tasks_of_one_app_do_not_delay_the_checks_of_another() {
    let (node, backend) = (TestNode::new(), Backend::start("127.0.7.6").await);
    // Connections stay in its queue: nobody accepts them.
    let silent = TcpListener::bind("0.0.0.0:0").await.expect("binds");
    let port = silent.local_addr().expect("has an address").port();
    node.edit(|state| {
        for number in 0..40 {
            let mut hanging = task(&format!("h{number}"), &format!("ch{number}"), port);
            hanging.container_labels.insert(labels::OWNER_UID.to_owned(), uuid::Uuid::from_u128(7).to_string());
            hanging.container_labels.insert(labels::HEALTH.to_owned(), r#"{"path":"/","timeout":"60s"}"#.to_owned());
            state.tasks.push(hanging);
            state.gateways.insert(format!("ch{number}"), format!("127.0.8.{}", number + 1).parse().expect("an address"));
        }
    });
    put(&node, "t1", backend.address, Some(EVERY_500MS));
    let mut endpoints = start(&node, EndpointsConfig { max_probes: 20, ..config() });
    let took = until(&mut endpoints, "ready", |table| ready(table, "t1")).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    drop(silent);
}

#[tokio::test]
async fn ten_thousand_tasks_come_and_one_goes_without_delay() {
    let node = TestNode::new();
    let backlog = TcpListener::bind("0.0.0.0:0").await.expect("binds");
    let port = backlog.local_addr().expect("has an address").port();
    let accept = tokio::spawn(async move { while backlog.accept().await.is_ok() {} });
    node.edit(|state| {
        for number in 0..10_000u32 {
            state.tasks.push(task(&format!("t{number}"), &format!("c{number}"), port));
            let address = std::net::Ipv4Addr::new(127, 9, (number >> 8) as u8, (number & 255) as u8);
            state.gateways.insert(format!("c{number}"), address.into());
        }
    });
    let config = EndpointsConfig { max_probes_per_app: 256, ..EndpointsConfig::default() };
    let mut endpoints = start(&node, config);
    let all =
        timeout(Duration::from_secs(60), endpoints.table.wait_for(|table| table.endpoints.values().filter(|e| e.ready).count() == 10_000));
    let begin = Instant::now();
    assert!(all.await.is_ok(), "not all became ready");
    eprintln!("10,000 ready after {:?}", begin.elapsed());
    node.hint(EngineHint::ContainerGoing { id: "c77".to_owned() });
    let took = until(&mut endpoints, "gone", |table| !table.endpoints.contains_key("t77")).await;
    eprintln!("removed from 10,000 after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    accept.abort();
}
