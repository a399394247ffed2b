//! Faults on real parts: a controller as a process of its own that dies, loses an answer or gets an error at one of its acts, and
//! what has to be true afterwards.
//!
//! All runs share one engine, one database and one API. In each run four apps are in motion at once, one in each flow: the newest is
//! deployed for the first time, the one before gets a new release, the one before that a domain, and the oldest is deleted. So every fault is
//! struck in one flow and, when it kills, cuts the others wherever they are; and each app goes through all flows in four runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use api_types::App;
use reqwest::header::HOST;
use skyswarm::engines::swarm::{SwarmEngine, labels};
use tokio::task::JoinHandle;

use crate::controllers::Controller;
use crate::platform::{IMAGE, Platform, condition, is_ready};

/// Longest that a run may take to come to rest, on whatever machine.
const PATIENCE: Duration = Duration::from_secs(150);
/// Time between two resyncs, in seconds.
const RESYNC: u64 = 1;

/// The faults of the matrix.
pub const MODES: [&str; 4] = ["kill_before", "kill_after", "lost_reply", "error"];

/// Where an app is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Deployed,
    Released,
    Named,
}

fn name(number: usize) -> String {
    format!("flow{number}")
}

fn manifest(number: usize, stage: Stage) -> String {
    let name = name(number);
    let version = if stage == Stage::Deployed { 1 } else { 2 };
    let domains = if stage == Stage::Named { format!("  domains: [{name}.example.test]\n") } else { String::new() };
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  image: {IMAGE}\n  env: {{VERSION: \"{name}-v{version}.\"}}\n  secrets: {{TOKEN: \"value-{version}\"}}\n{domains}  processes:\n    web: {{port: 8080, replicas: 1, health: {{path: /healthz}}}}\n  rollout: {{healthWindow: 1s}}\n"
    )
}

/// What one run came to, names and ids taken out, so that runs can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ends(BTreeMap<Stage, String>);

/// Acts on the engine that landed, by kind.
type Digest = BTreeMap<String, usize>;

/// Runs on one platform.
pub struct Campaign {
    platform: Platform,
    controller: Controller,
    /// Number of the next app.
    next: usize,
    runs: usize,
    foreign: String,
    reference: Option<(Ends, Digest)>,
    /// Acts of the run without a fault.
    pub acts: u64,
    /// Faults that happened.
    pub struck: usize,
}

impl Campaign {
    /// Starts everything, and makes the run that the others are compared with, twice: only what is the same in both is a reference.
    ///
    /// # Errors
    /// When something does not start, or the two differ.
    pub async fn start() -> Result<Self> {
        let platform = Platform::start_apart().await?;
        platform.put_setting("controller.resync_interval", serde_json::json!(format!("{RESYNC}s"))).await?;
        let foreign = platform.dockerd.plant_foreign_objects(IMAGE).await?;
        let mut controller = platform.controller(1, &platform.dockerd.host())?;
        controller.start(&[]).await?;
        let mut campaign = Self { platform, controller, next: 3, runs: 0, foreign, reference: None, acts: 0, struck: 0 };
        let lives = [
            vec![(0, Stage::Deployed), (1, Stage::Deployed), (2, Stage::Deployed)],
            vec![(0, Stage::Released), (1, Stage::Released)],
            vec![(0, Stage::Named)],
        ];
        for stages in lives {
            let manifests: Vec<String> = stages.iter().map(|(number, stage)| manifest(*number, *stage)).collect();
            campaign.platform.apply(&manifests.join("---\n")).await?;
            campaign.at_rest(&stages, None).await?;
        }
        campaign.controller.kill().await?;
        campaign.run(None).await?;
        campaign.run(None).await?;
        Ok(campaign)
    }

    /// One run. With a fault, such as `kill_after:17`, its end is compared with that of the run without one.
    ///
    /// # Errors
    /// When anything is not as it has to be, with the fault that brought it about.
    pub async fn run(&mut self, fault: Option<&str>) -> Result<()> {
        let log = self.platform.data_dir.with_file_name(format!("acts{}", self.runs));
        let told = fault.unwrap_or("no fault").to_owned();
        let result = self.run_with(fault, log.clone()).await;
        let acts = || std::fs::read_to_string(&log).unwrap_or_default();
        result.with_context(|| format!("run {} with {told}; its acts:\n{}\n{}", self.runs, acts(), self.controller.log()))
    }

    async fn run_with(&mut self, fault: Option<&str>, log: PathBuf) -> Result<()> {
        self.runs += 1;
        let newest = self.next;
        self.next += 1;
        let moving = [(newest, Stage::Deployed), (newest - 1, Stage::Released), (newest - 2, Stage::Named)];
        let deleted = newest - 3;
        let wanted = moving.map(|(number, stage)| manifest(number, stage));
        self.platform.apply(&wanted.join("---\n")).await?;
        let gone = self.platform.skyctl(&["delete", "app", &name(deleted)]).await?;
        ensure!(gone.code == 0, "{gone:?}");

        let watch = Watch::start(&self.platform, newest, newest - 1);
        let path = log.display().to_string();
        let variables = [("SKYSWARM_EFFECTS_LOG", path.as_str()), ("SKYSWARM_FAULTS", fault.unwrap_or_default())];
        self.controller.spawn(&variables)?;
        self.at_rest(&moving, Some((deleted, path.as_str()))).await?;
        // Not after each run of hundreds: it is waiting and nothing else.
        if self.runs % 4 == 1 || fault.is_none() {
            self.quiet_for_three_resyncs(&log).await?;
        }
        watch.stop().await?;

        let text = std::fs::read_to_string(&log)?;
        if fault.is_some_and(|fault| text.lines().any(|line| Some(line.rsplit(' ').next().unwrap_or_default()) == fault.split(':').next()))
        {
            self.struck += 1;
        }
        let (ends, digest) = (self.ends(&moving).await?, digest(&text));
        self.no_orphans(&moving, deleted).await?;
        ensure!(self.platform.dockerd.foreign_objects().await? == self.foreign, "an object of somebody else was touched");
        match (&self.reference, fault) {
            (None, _) => {
                self.acts = u64::try_from(text.lines().filter(|line| line.ends_with(" begins")).count())?;
                self.reference = Some((ends, digest));
            }
            (Some((same_ends, same_digest)), _) => {
                ensure!(ends == *same_ends, "another end than without a fault:\n{ends:#?}\n{same_ends:#?}");
                // An act that landed while the process died may be missing here; one too many is something made anew in vain.
                for (kind, count) in &digest {
                    let most = same_digest.get(kind).copied().unwrap_or(0);
                    ensure!(*count <= most, "{kind}: {count} instead of {most}: {digest:?}");
                }
                ensure!(fault.is_some() || digest == *same_digest, "two runs without a fault differ: {digest:?} and {same_digest:?}");
            }
        }
        self.controller.kill().await
    }

    /// Waits until apps are where they have to be and nothing is left to do. A controller that died is started again.
    async fn at_rest(&mut self, moving: &[(usize, Stage)], deleted: Option<(usize, &str)>) -> Result<()> {
        let begun = Instant::now();
        loop {
            if self.controller.has_ended()? {
                let again = deleted.map(|(_, log)| ("SKYSWARM_EFFECTS_LOG", log));
                self.controller.spawn(again.as_slice())?;
            }
            let mut left = Vec::new();
            for (number, _) in moving {
                let app = self.platform.app(&name(*number)).await?;
                let settled = condition(&app, api_types::ConditionType::Progressing).is_some_and(|found| {
                    found.reason == api_types::Reason::Settled && Some(found.observed_generation) == app.metadata.generation
                });
                if !is_ready(&app) || !settled {
                    left.push(name(*number));
                }
            }
            if let Some((number, _)) = deleted
                && self.platform.app(&name(number)).await.is_ok()
            {
                left.push(format!("{} is not gone", name(number)));
            }
            if left.is_empty() {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "not at rest after {PATIENCE:?}: {left:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Nothing is written to the engine any more.
    async fn quiet_for_three_resyncs(&self, log: &std::path::Path) -> Result<()> {
        let before = std::fs::read_to_string(log)?.lines().filter(|line| is_engine(line)).count();
        tokio::time::sleep(Duration::from_secs(3 * RESYNC)).await;
        let text = std::fs::read_to_string(log)?;
        let late: Vec<&str> = text.lines().filter(|line| is_engine(line)).skip(before).collect();
        ensure!(late.is_empty(), "written to the engine at rest: {late:?}");
        Ok(())
    }

    async fn ends(&self, moving: &[(usize, Stage)]) -> Result<Ends> {
        let mut ends = BTreeMap::new();
        for (number, stage) in moving {
            ends.insert(*stage, self.end(*number).await?);
        }
        Ok(Ends(ends))
    }

    /// All that there is of an app, without what differs from one app to the next.
    async fn end(&self, number: usize) -> Result<String> {
        let engine = self.platform.dockerd.connect()?;
        let app = self.platform.app(&name(number)).await?;
        let uid = app.metadata.uid.context("no uid")?.to_string();
        let prefix = format!("{}-", name(number));
        let mut services = engine.service_list(&prefix).await?;
        services.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        let ids: Vec<String> = services.iter().map(|service| service.id.clone()).collect();
        let tasks = if ids.is_empty() { Vec::new() } else { engine.task_list(&ids).await? };
        let running = tasks.iter().filter(|task| task.is_running()).count();
        let mut text = format!("{running} running\n");
        let mut masks = vec![(uid.clone(), "UID"), (uid[uid.len() - 12..].to_owned(), "UID12"), (uid[uid.len() - 8..].to_owned(), "UID8")];
        for service in &mut services {
            for stamp in [labels::EPOCH, labels::SPEC_HASH] {
                service.spec.labels.remove(stamp);
            }
            masks.extend(service.spec.labels.get(labels::RELEASE).map(|release| (release.clone(), "RELEASE")));
            text.push_str(&serde_json::to_string(&service.spec)?);
            text.push('\n');
        }
        for secret in engine.secret_list(&prefix).await? {
            masks.push((secret.name.clone(), "SECRET"));
            text.push_str(&format!("{} {:?}\n", secret.name, secret.labels));
        }
        for network in engine.network_list(&prefix).await? {
            text.push_str(&format!("{} {:?}\n", network.name, network.labels));
        }
        let status = app.status.context("no status")?;
        for found in &status.conditions {
            text.push_str(&format!("{:?} {:?} {:?}\n", found.kind, found.status, found.reason));
        }
        text.push_str(&format!("{:?} generation {:?} observed {}", status.urls, app.metadata.generation, status.observed_generation));
        // Names of secrets hold the uid, so they go first.
        masks.sort_by_key(|(what, _)| std::cmp::Reverse(what.len()));
        for (what, mask) in masks {
            text = text.replace(&what, mask);
        }
        Ok(text.replace(&name(number), "APP"))
    }

    /// Everything that carries our label is of an app that exists.
    async fn no_orphans(&self, moving: &[(usize, Stage)], deleted: usize) -> Result<()> {
        let engine = self.platform.dockerd.connect()?;
        let mut live = Vec::new();
        for (number, _) in moving {
            live.extend(self.platform.app(&name(*number)).await?.metadata.uid.map(|uid| uid.to_string()));
        }
        let mut found: Vec<(String, BTreeMap<String, String>)> = Vec::new();
        found.extend(engine.service_list("").await?.into_iter().map(|service| (service.spec.name, service.spec.labels)));
        found.extend(engine.network_list("").await?.into_iter().map(|network| (network.name, network.labels)));
        found.extend(engine.secret_list("").await?.into_iter().map(|secret| (secret.name, secret.labels)));
        for (what, labels) in found {
            let owner = labels.get(labels::OWNER_UID).cloned().unwrap_or_default();
            let planted = what.starts_with("foreign-");
            ensure!(planted || live.contains(&owner), "{what} is of no app that exists ({} was deleted)", name(deleted));
        }
        Ok(())
    }
}

/// An act on the engine, in a line of the log of acts.
fn is_engine(line: &str) -> bool {
    let kind = line.split(' ').nth(1).unwrap_or_default();
    ["network_", "secret_", "service_"].iter().any(|prefix| kind.starts_with(prefix))
}

/// Creations and removals that landed. How often something is updated on the way depends on when what is seen.
fn digest(log: &str) -> Digest {
    let mut digest = Digest::new();
    for line in log.lines().filter(|line| is_engine(line) && line.ends_with(" done")) {
        let kind = line.split(' ').nth(1).unwrap_or_default();
        if kind.ends_with("_create") || kind.ends_with("_remove") {
            *digest.entry(kind.to_owned()).or_default() += 1;
        }
    }
    digest
}

/// Looks at what must hold at every moment of a run.
struct Watch {
    stop: Arc<Mutex<bool>>,
    task: JoinHandle<Result<()>>,
}

impl Watch {
    fn start(platform: &Platform, newest: usize, rolling: usize) -> Self {
        let stop = Arc::new(Mutex::new(false));
        let seen = Watched { client: platform.client(), newest, rolling, observed: BTreeMap::new() };
        let docker = platform.dockerd.connect();
        let ends = stop.clone();
        let task = tokio::spawn(async move {
            let (mut seen, engine) = (seen, docker?);
            while !*ends.lock().unwrap_or_else(PoisonError::into_inner) {
                seen.look(&engine).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        });
        Self { stop, task }
    }

    async fn stop(self) -> Result<()> {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.task.await?
    }
}

struct Watched {
    client: crate::platform::Client,
    newest: usize,
    rolling: usize,
    observed: BTreeMap<usize, i64>,
}

impl Watched {
    async fn look(&mut self, engine: &impl SwarmEngine) -> Result<()> {
        for number in [self.newest, self.rolling] {
            let Ok(app) = self.client.api::<App>(&format!("/v1/orgs/default/apps/{}", name(number))).await else { continue };
            let seen = app.status.as_ref().map_or(0, |status| status.observed_generation);
            let before = self.observed.insert(number, seen).unwrap_or(0);
            ensure!(before <= seen && Some(seen) <= app.metadata.generation, "{}: observed {before}, then {seen}", name(number));
            // What is said to be ready answers, and says that it is what it is; unless nobody answers, as when the edge is handed over.
            let answer = self.ask(number).await;
            if let Ok((200, body)) = &answer {
                ensure!(body.contains(&format!("{}-v", name(number))), "{} got an answer of another app: {body}", name(number));
                if is_ready(&app) {
                    let version = format!("{}-v{}.", name(number), if number == self.newest { 1 } else { 2 });
                    ensure!(body.contains(&version), "{} is said to be ready at generation {seen}, and {body} answers", name(number));
                }
            }
        }
        let services = engine.service_list(&format!("{}-", name(self.rolling))).await?;
        let ids: Vec<String> = services.into_iter().map(|service| service.id).collect();
        let running = if ids.is_empty() { 0 } else { engine.task_list(&ids).await?.iter().filter(|task| task.is_running()).count() };
        ensure!(running >= 1, "nothing of {} runs in the middle of its rollout", name(self.rolling));
        Ok(())
    }

    async fn ask(&self, number: usize) -> Result<(u16, String)> {
        let host = format!("{}-default.apps.localhost", name(number));
        let answer = self.client.http.get("http://127.0.0.1:8080/").header(HOST, host).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }
}
