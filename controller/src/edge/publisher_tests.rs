//! When there is a document, and which.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{BoxError, EdgeHandle, Published, PublisherConfig, RouteSource, spawn};
use crate::edge::document::tests::{endpoint, route, table};
use crate::edge::inputs::Inputs;
use crate::edge::known_good::tests::known_good;
use crate::edge::{Check, EndpointTable, Route};

/// Routes that a test sets; `None` stands for a database that does not answer.
struct TestRoutes(Mutex<Option<Vec<Route>>>);

#[async_trait]
impl RouteSource for TestRoutes {
    async fn inputs(&self) -> Result<Inputs, BoxError> {
        self.0.lock().expect("not poisoned").as_deref().map(Inputs::of).ok_or_else(|| "the database is away".into())
    }
}

struct Lab {
    routes: Arc<TestRoutes>,
    table: watch::Sender<Arc<EndpointTable>>,
    edge: EdgeHandle,
}

impl Lab {
    fn start(routes: Option<Vec<Route>>, first: EndpointTable, config: PublisherConfig) -> Self {
        let routes = Arc::new(TestRoutes(Mutex::new(routes)));
        let (table, receiver) = watch::channel(Arc::new(first));
        let (edge, _) = spawn(routes.clone(), receiver, config, CancellationToken::new());
        Self { routes, table, edge }
    }
    fn set(&self, routes: Option<Vec<Route>>) {
        *self.routes.0.lock().expect("not poisoned") = routes;
        self.edge.kick();
    }
    fn observe(&self, table: EndpointTable) {
        self.table.send_replace(Arc::new(table));
    }
    async fn until(&self, what: &str, want: impl Fn(&Published) -> bool) -> Arc<Published> {
        let mut published = self.edge.published();
        let found = timeout(Duration::from_secs(3), published.wait_for(|last| last.as_deref().is_some_and(&want))).await;
        match found {
            Ok(Ok(found)) => found.clone().expect("there is one"),
            _ => panic!("{what}: {:?}", self.edge.published().borrow()),
        }
    }
    async fn nothing_for(&self, wait: Duration) {
        tokio::time::sleep(wait).await;
        assert!(self.edge.published().borrow().is_none(), "a document was published too early");
    }
}

fn servers(published: &Published, key: &str) -> Vec<String> {
    published.servers_by_key.get(key).into_iter().flatten().map(ToString::to_string).collect()
}

const KEY: &str = "acme-a-00000001";

fn one_route() -> Vec<Route> {
    vec![route(1, "a", &["a.example"], &["r1"])]
}

#[tokio::test]
async fn there_is_no_document_until_both_inputs_are_known_and_endpoints_were_checked() {
    let lab = Lab::start(Some(one_route()), EndpointTable::default(), PublisherConfig::default());
    lab.nothing_for(Duration::from_millis(150)).await;
    let mut pending = endpoint(1, "r1", "172.18.0.2:80", false);
    pending.last_check = Check::Pending;
    lab.observe(table([pending.clone()]));
    lab.nothing_for(Duration::from_millis(150)).await;
    // It answers, but the engine has not confirmed yet whose address that is.
    pending.last_check = Check::Passed;
    lab.observe(table([pending]));
    lab.nothing_for(Duration::from_millis(150)).await;
    lab.observe(table([endpoint(1, "r1", "172.18.0.2:80", true)]));
    let first = lab.until("the first", |_| true).await;
    assert_eq!((first.revision, servers(&first, KEY)), (1, vec!["172.18.0.2:80".to_owned()]));
    assert!(std::str::from_utf8(&first.json).expect("is text").contains(&first.stamp));
}

#[tokio::test]
async fn a_task_that_never_gets_checked_delays_the_first_document_only_so_long() {
    let config = PublisherConfig { settle: Duration::from_millis(200), ..PublisherConfig::default() };
    let lab = Lab::start(Some(one_route()), table([endpoint(1, "r1", "172.18.0.2:80", false)]), config);
    lab.nothing_for(Duration::from_millis(100)).await;
    assert!(servers(&*lab.until("after a while", |_| true).await, KEY).is_empty());
}

#[tokio::test]
async fn an_endpoint_leaves_within_milliseconds_even_while_routes_cannot_be_read() {
    let two = [endpoint(1, "r1", "172.18.0.2:80", true), endpoint(1, "r1", "172.18.0.3:80", true)];
    let lab = Lab::start(Some(one_route()), table(two.clone()), PublisherConfig::default());
    lab.until("both", |last| servers(last, KEY).len() == 2).await;
    lab.set(None);
    let start = Instant::now();
    // The engine is away too: the table is no longer known to be current, and still counts.
    lab.observe(EndpointTable { observed_at: None, ..table([two[1].clone()]) });
    let last = lab.until("one", |last| servers(last, KEY).len() == 1).await;
    eprintln!("published {:?} after the change", start.elapsed());
    assert!(start.elapsed() < Duration::from_millis(50), "{:?}", start.elapsed());
    assert_eq!(last.revision, 2);
    lab.observe(table([]));
    let last = lab.until("none", |last| servers(last, KEY).is_empty()).await;
    assert!(last.servers_by_key.contains_key(KEY), "the route stays when its last task is gone");
}

#[tokio::test]
async fn a_kick_publishes_a_new_route_and_equal_content_publishes_nothing() {
    let lab = Lab::start(Some(one_route()), table([]), PublisherConfig { resync: Duration::from_secs(60), ..PublisherConfig::default() });
    lab.until("the first", |last| last.revision == 1).await;
    let mut more = one_route();
    more.push(route(2, "b", &["b.example"], &["r1"]));
    let start = Instant::now();
    lab.set(Some(more));
    lab.until("the second", |last| last.servers_by_key.len() == 2).await;
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
    lab.edge.kick();
    lab.observe(table([endpoint(1, "other", "172.18.0.9:80", true)]));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(lab.edge.published().borrow().as_ref().expect("there is one").revision, 2);
}

#[tokio::test]
async fn a_start_without_the_database_serves_the_last_known_routes_with_fresh_endpoints() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = known_good(folder.path());
    let config = PublisherConfig { known_good: Some(file.clone()), ..PublisherConfig::default() };
    let lab = Lab::start(None, table([]), config.clone());
    lab.nothing_for(Duration::from_millis(150)).await;
    lab.set(Some(one_route()));
    lab.until("from the database", |_| true).await;
    timeout(Duration::from_secs(2), async {
        while !matches!(file.read(), Ok(Some(_))) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the file is written");

    let lab = Lab::start(None, EndpointTable::default(), config);
    lab.nothing_for(Duration::from_millis(150)).await;
    lab.observe(table([endpoint(1, "r1", "172.18.0.2:80", true), endpoint(2, "r1", "172.18.0.3:80", true)]));
    let last = lab.until("from the file", |_| true).await;
    assert_eq!(servers(&last, KEY), ["172.18.0.2:80"], "another app has the other address now");
    lab.set(Some(Vec::new()));
    lab.until("the database is back", |last| last.servers_by_key.is_empty()).await;
}
