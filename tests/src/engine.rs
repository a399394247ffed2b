//! The contract of [`SwarmEngine`]: what the platform relies on, checked against any engine.
//!
//! The fake and the real engine both run it, so that the fake cannot drift into answers that no engine gives.
//! It needs an engine whose objects are its own: names begin with a prefix that nothing else uses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use api_types::ImageRef;
use api_types::kinds::app::ImagePullPolicy;
use secrecy::SecretString;
use skyswarm::engines::swarm::{
    EngineError, EngineHint, EngineResult, ImageResolution, NetworkSpec, SecretMount, Service, ServiceHead, ServiceSpec, SwarmEngine, Task,
    TaskState, labels,
};

/// How long anything may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an engine is checked with.
#[derive(Debug, Clone)]
pub struct Subject {
    /// A tag that the engine has and no registry knows; its containers run until they are stopped.
    pub local_tag: String,
    /// Pause between two looks at the engine.
    pub pause: Duration,
}

/// What an engine did when it was asked something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// Kind of object.
    pub of: &'static str,
    /// What was done.
    pub act: &'static str,
    /// What came of it.
    pub answer: String,
}

/// `docs/engine-behaviour.md`, made from what an engine did.
pub fn page(found: &[Behaviour]) -> String {
    let mut text = String::from(PREFACE);
    let mut area = "";
    for Behaviour { of, act, answer } in found {
        if *of != area {
            area = of;
            let _ = write!(text, "\n## {of}\n\n| act | what comes of it |\n| --- | --- |\n");
        }
        let _ = writeln!(text, "| {act} | {answer} |");
    }
    text
}

const PREFACE: &str = "\
# How the engine behaves

What the platform relies on, in the words of its own errors. This page is written by the test `the_fake_keeps_the_contract` from what the simulated engine does
(`SKYSWARM_GENERATE=1 cargo test --workspace --test it the_fake_keeps_the_contract`); the test `the_docker_engine_keeps_the_contract` finds the same on a
real engine, of the version that the distribution has (`./dev test engine_contract`) and of a newer one (`./dev test --engine 28 engine_contract`). Whatever differs fails it.
";

/// Checks an engine, and says what it did. The error says which promise was broken.
///
/// # Errors
/// When the engine does not answer, or answers otherwise than promised.
pub async fn contract(engine: &dyn SwarmEngine, subject: &Subject) -> Result<Vec<Behaviour>> {
    let mut checks = Checks { engine, image: String::new(), pause: subject.pause, found: Mutex::default() };
    checks.image = checks.images(subject).await.context("images")?;
    checks.networks().await.context("networks")?;
    checks.secrets().await.context("secrets")?;
    checks.services().await.context("services")?;
    checks.tasks().await.context("tasks")?;
    checks.references().await.context("references")?;
    checks.hints().await.context("hints")?;
    Ok(checks.found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Labels of an object of ours.
pub fn our_labels(org: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (labels::MANAGED_BY.to_owned(), labels::MANAGED_BY_VALUE.to_owned()),
        (labels::ORG.to_owned(), org.to_owned()),
        (labels::GENERATION.to_owned(), "1".to_owned()),
    ])
}

struct Checks<'a> {
    engine: &'a dyn SwarmEngine,
    image: String,
    pause: Duration,
    found: Mutex<Vec<Behaviour>>,
}

impl Checks<'_> {
    /// Writes down what came of an act, which was checked.
    fn saw(&self, of: &'static str, act: &'static str, answer: &str) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).push(Behaviour { of, act, answer: answer.to_owned() });
    }

    /// Checks how an act was refused, and writes it down: the word is the name of the error.
    fn refused<T: Debug>(&self, of: &'static str, act: &'static str, result: &EngineResult<T>, wanted: &str) -> Result<()> {
        let error = result.as_ref().err().map(|error| format!("{error:?}")).unwrap_or_default();
        let word = error.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default();
        ensure!(word == wanted, "{of}: {act}: {result:?}");
        self.saw(of, act, word);
        Ok(())
    }

    async fn images(&self, subject: &Subject) -> Result<String> {
        let tag: ImageRef = subject.local_tag.parse()?;
        let resolved = self.engine.image_resolve(&tag, ImagePullPolicy::IfNotPresent).await?;
        let ImageResolution::Local(id) = resolved else { bail!("{tag} was never in a registry, but resolves to {resolved:?}") };
        ensure!(id.starts_with("sha256:"), "a local image is named by its full id, not {id}");
        let by_id = self.engine.image_resolve(&id.parse()?, ImagePullPolicy::IfNotPresent).await?;
        ensure!(by_id == ImageResolution::Local(id.clone()), "an id resolves to itself, not {by_id:?}");
        let never = self.engine.image_resolve(&tag, ImagePullPolicy::Never).await?;
        ensure!(never == ImageResolution::Local(id.clone()), "a present image needs no registry");

        let digest = format!("sha256:{}", "0".repeat(64));
        let pinned: ImageRef = format!("registry.invalid/shop@{digest}").parse()?;
        let resolved = self.engine.image_resolve(&pinned, ImagePullPolicy::Always).await?;
        ensure!(resolved == ImageResolution::Pinned(pinned.to_string()), "a pinned reference stays as it is");
        let absent_id = self.engine.image_resolve(&digest.parse()?, ImagePullPolicy::IfNotPresent).await;
        self.refused("Images", "resolve an id that is not here", &absent_id, "NotFound")?;
        let absent = self.engine.image_resolve(&"skyswarm-absent:1".parse()?, ImagePullPolicy::Never).await;
        self.refused("Images", "resolve a tag that is not here, without asking a registry", &absent, "NotFound")?;
        Ok(id)
    }

    fn spec(&self, name: &str, replicas: u64) -> ServiceSpec {
        ServiceSpec {
            name: name.to_owned(),
            labels: our_labels("acme"),
            container_labels: BTreeMap::from([(labels::RELEASE.to_owned(), "abcdef0".to_owned())]),
            image: self.image.clone(),
            stop_grace_nanos: 2_000_000_000,
            replicas,
            dnsrr: true,
            ..ServiceSpec::default()
        }
    }

    async fn service(&self, name: &str) -> Result<Service> {
        let listed = self.engine.service_list(name).await?;
        listed.into_iter().find(|service| service.spec.name == name).with_context(|| format!("service {name} is not listed"))
    }

    /// Looks until `done` says so.
    async fn until(&self, id: &str, what: &str, done: impl Fn(&[Task]) -> bool) -> Result<Vec<Task>> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let tasks = self.engine.task_list(&[id.to_owned()]).await?;
            if done(&tasks) {
                return Ok(tasks);
            }
            ensure!(tokio::time::Instant::now() < deadline, "{what} did not come about: {tasks:#?}");
            tokio::time::sleep(self.pause).await;
        }
    }

    async fn networks(&self) -> Result<()> {
        let spec = NetworkSpec { name: "ctn-a".to_owned(), labels: our_labels("acme") };
        let id = self.engine.network_create(&spec).await?;
        let taken = self.engine.network_create(&spec).await;
        ensure!(matches!(&taken, Err(EngineError::NameTaken { name }) if name == "ctn-a"), "a second network: {taken:?}");
        self.refused("Networks", "create a second one with the same name", &taken, "NameTaken")?;

        // The engine's own filter would find this one by "ctn-a" as well.
        let infix = self.engine.network_create(&NetworkSpec { name: "x-ctn-a".to_owned(), labels: our_labels("acme") }).await?;
        let listed = self.engine.network_list("ctn-a").await?;
        ensure!(listed.len() == 1 && listed[0].id == id && listed[0].labels == spec.labels, "by name: {listed:?}");
        ensure!(self.engine.network_list("ctn").await?.is_empty(), "a part of a name");
        self.saw("Networks", "list by a part of its name", "nothing");
        ensure!(self.engine.network_list("").await?.len() == 2, "all of ours");
        for id in [&id, &infix] {
            self.engine.network_remove(id).await?;
        }
        let gone = self.engine.network_remove(&id).await;
        self.refused("Networks", "remove one that is gone", &gone, "NotFound")?;
        Ok(())
    }

    async fn secrets(&self) -> Result<()> {
        let value = SecretString::from("hunter2".to_owned());
        let id = self.engine.secret_create("cts-a", &our_labels("acme"), &value).await?;
        let taken = self.engine.secret_create("cts-a", &our_labels("acme"), &value).await;
        ensure!(matches!(&taken, Err(EngineError::NameTaken { name }) if name == "cts-a"), "a second secret: {taken:?}");
        self.refused("Secrets", "create a second one with the same name", &taken, "NameTaken")?;
        let listed = self.engine.secret_list("cts-").await?;
        ensure!(listed.len() == 1 && listed[0].id == id && listed[0].labels == our_labels("acme"), "by prefix: {listed:?}");
        self.engine.secret_remove(&id).await?;
        let gone = self.engine.secret_remove(&id).await;
        self.refused("Secrets", "remove one that is gone", &gone, "NotFound")?;
        Ok(())
    }

    async fn services(&self) -> Result<()> {
        let spec = self.spec("ctv-a", 0);
        let id = self.engine.service_create(&spec).await?;
        let taken = self.engine.service_create(&spec).await;
        ensure!(matches!(&taken, Err(EngineError::NameTaken { name }) if name == "ctv-a"), "a second service: {taken:?}");
        self.refused("Services", "create a second one with the same name", &taken, "NameTaken")?;

        let foreign = ServiceSpec { labels: BTreeMap::new(), ..self.spec("ctv-foreign", 0) };
        let foreign_id = self.engine.service_create(&foreign).await?;
        let by_prefix: BTreeSet<String> = self.engine.service_list("ctv-").await?.into_iter().map(|service| service.spec.name).collect();
        ensure!(by_prefix == BTreeSet::from(["ctv-a".to_owned(), "ctv-foreign".to_owned()]), "foreign ones too: {by_prefix:?}");
        let ours: Vec<String> = self.engine.service_list("").await?.into_iter().map(|service| service.spec.name).collect();
        ensure!(ours == ["ctv-a"], "only ours without a prefix: {ours:?}");
        let heads: Vec<ServiceHead> = self.engine.service_list("").await?.into_iter().map(ServiceHead::from).collect();
        ensure!(self.engine.service_heads().await? == heads && heads.len() == 1, "heads are of what is listed: {heads:?}");
        ensure!(self.engine.service_labels("ctv-foreign").await? == Some(BTreeMap::new()), "labels of a foreign service");
        ensure!(self.engine.service_labels("ctv").await?.is_none(), "a prefix is no name");
        ensure!(self.engine.service_labels("ctv-a").await? == Some(our_labels("acme")), "labels are kept");

        let created = self.service("ctv-a").await?;
        ensure!(created.id == id && created.spec == spec, "what was sent is what is read: {:#?}\n{spec:#?}", created.spec);
        let labelled = ServiceSpec { labels: our_labels("other"), ..spec.clone() };
        self.engine.service_update(&id, created.version, &labelled).await?;
        let stale = self.engine.service_update(&id, created.version, &spec).await;
        self.refused("Services", "update with the version from before another update", &stale, "OutOfSequence")?;
        let updated = self.service("ctv-a").await?;
        ensure!(updated.spec == labelled && updated.version > created.version, "the update holds: {updated:#?}");
        self.saw("Services", "look at the version after an update", "grows");

        let invalid = ServiceSpec { memory_bytes: 1, ..self.spec("ctv-b", 0) };
        let refused = self.engine.service_create(&invalid).await;
        self.refused("Services", "create one with a limit of one byte of memory", &refused, "Invalid")?;
        for id in [&id, &foreign_id] {
            self.engine.service_remove(id).await?;
        }
        let gone = self.engine.service_remove(&id).await;
        self.refused("Services", "remove one that is gone", &gone, "NotFound")?;
        let gone = self.engine.service_update(&id, updated.version, &spec).await;
        self.refused("Services", "update one that is gone", &gone, "NotFound")?;
        Ok(())
    }

    async fn tasks(&self) -> Result<()> {
        let nowhere = self.engine.ran_out_of_memory(&"0".repeat(64)).await?;
        ensure!(nowhere.is_none(), "of a container that is not here nothing is known: {nowhere:?}");
        let spec = self.spec("ctt-a", 1);
        let id = self.engine.service_create(&spec).await?;
        let running = |wanted: usize| move |tasks: &[Task]| tasks.iter().filter(|task| task.is_running()).count() == wanted;
        let first = self.until(&id, "one running task", running(1)).await?;
        let first = first.into_iter().find(Task::is_running).context("no running task")?;
        ensure!(first.slot == 1 && !first.container_id.is_empty() && !first.node_id.is_empty(), "a running task: {first:?}");
        ensure!(first.container_labels == spec.container_labels, "a task shows its release: {first:?}");
        let ours = self.engine.task_list(&[]).await?;
        ensure!(ours.iter().any(|task| task.id == first.id), "tasks of all our services: {ours:?}");

        let service = self.service("ctt-a").await?;
        self.engine.service_update(&id, service.version, &ServiceSpec { replicas: 2, ..spec.clone() }).await?;
        let two = self.until(&id, "two running tasks", running(2)).await?;
        let kept = two.iter().any(|task| task.id == first.id && task.is_running());
        ensure!(kept, "scaling replaces no task: {two:#?}");
        self.saw("Tasks", "scale from one to two", "the first task stays");

        let service = self.service("ctt-a").await?;
        self.engine.service_update(&id, service.version, &ServiceSpec { replicas: 0, ..spec.clone() }).await?;
        self.until(&id, "no live task", |tasks| !tasks.iter().any(Task::is_live)).await?;

        let service = self.service("ctt-a").await?;
        self.engine.service_update(&id, service.version, &spec).await?;
        self.until(&id, "a task after scaling up again", running(1)).await?;
        self.engine.service_remove(&id).await?;
        self.until(&id, "no task after its service", |tasks| tasks.is_empty()).await?;
        self.saw("Tasks", "remove the service", "its tasks are gone after a while");

        let missing = ServiceSpec { image: format!("sha256:{}", "0".repeat(64)), ..self.spec("ctt-missing", 1) };
        let id = self.engine.service_create(&missing).await?;
        let rejected = |tasks: &[Task]| tasks.iter().any(|task| task.state == TaskState::Rejected && !task.error.is_empty());
        self.until(&id, "a rejected task that says why", rejected).await?;
        self.saw("Tasks", "run an image that no node has", "rejected, with an error");
        self.engine.service_remove(&id).await?;
        Ok(())
    }

    /// A service with everything that a spec can say.
    async fn references(&self) -> Result<()> {
        let mut spec = ServiceSpec {
            command: vec!["/bin/busybox".to_owned()],
            args: vec!["sleep".to_owned(), "1000000".to_owned()],
            env: BTreeMap::from([("B".to_owned(), "2=2".to_owned()), ("A".to_owned(), String::new())]),
            secrets: vec![SecretMount { secret_name: "ctr-s1".to_owned(), file_name: "TOKEN".to_owned() }],
            network: "ctr-net".to_owned(),
            aliases: vec!["web".to_owned(), "api".to_owned()],
            nano_cpus: 100_000_000,
            memory_bytes: 32 << 20,
            pids_limit: 50,
            ..self.spec("ctr-a", 1)
        };
        let refused = self.engine.service_create(&spec).await;
        self.refused("References", "create a service whose network and secret do not exist", &refused, "NotFound")?;
        let network = self.engine.network_create(&NetworkSpec { name: spec.network.clone(), labels: our_labels("acme") }).await?;
        let value = SecretString::from("hunter2".to_owned());
        let secret = self.engine.secret_create("ctr-s1", &our_labels("acme"), &value).await?;
        let id = self.engine.service_create(&spec).await?;
        let read = self.service("ctr-a").await?;
        ensure!(read.spec == spec, "what was sent is what is read: {:#?}\n{spec:#?}", read.spec);
        self.saw("References", "read back a service with every field that the platform sets", "as it was sent");

        let tasks = self.until(&id, "a running task", |tasks| tasks.iter().any(Task::is_running)).await?;
        let task = tasks.into_iter().find(Task::is_running).context("no running task")?;
        let addresses = self.engine.gateway_addresses().await?;
        let address = addresses.get(&task.container_id);
        ensure!(address.is_some_and(|address| !address.is_loopback()), "a task on a network has an address: {addresses:?}");
        let in_use = self.engine.network_remove(&network).await;
        self.refused("References", "remove a network that a service is on", &in_use, "InUse")?;
        let in_use = self.engine.secret_remove(&secret).await;
        self.refused("References", "remove a secret that a service has", &in_use, "InUse")?;

        // Scaling goes through a read of what the engine holds: nothing of it may make another template.
        let service = self.service("ctr-a").await?;
        spec.replicas = 2;
        self.engine.service_update(&id, service.version, &spec).await?;
        let two = self.until(&id, "two tasks", |tasks| tasks.iter().filter(|task| task.is_running()).count() == 2).await?;
        ensure!(two.iter().any(|other| other.id == task.id && other.is_running()), "scaling replaces no task: {two:#?}");

        self.engine.service_remove(&id).await?;
        self.until(&id, "no task after its service", |tasks| tasks.is_empty()).await?;
        self.engine.secret_remove(&secret).await?;
        self.removed_at_last(&network).await?;
        let addresses = self.engine.gateway_addresses().await?;
        ensure!(!addresses.contains_key(&task.container_id), "an address goes with its task: {addresses:?}");
        Ok(())
    }

    async fn removed_at_last(&self, network: &str) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.engine.network_remove(network).await {
                Ok(()) => return Ok(()),
                Err(EngineError::InUse { .. }) if tokio::time::Instant::now() < deadline => tokio::time::sleep(self.pause).await,
                Err(error) => bail!(error),
            }
        }
    }

    async fn hints(&self) -> Result<()> {
        use futures::StreamExt;
        let mut hints = self.engine.hints();
        let first = tokio::time::timeout(PATIENCE, hints.next()).await?;
        ensure!(first == Some(EngineHint::Connected), "a stream begins with Connected, not {first:?}");
        self.saw("Events", "listen", "with Connected");
        let id = self.engine.service_create(&self.spec("cth-a", 0)).await?;
        let want = EngineHint::Changed { kind: "service", name: "cth-a".to_owned() };
        let seen = tokio::time::timeout(PATIENCE, hints.any(|hint| std::future::ready(hint == want))).await;
        ensure!(seen == Ok(true), "a new service is hinted at");
        self.saw("Events", "create a service", "is told");
        self.engine.service_remove(&id).await?;
        Ok(())
    }
}
