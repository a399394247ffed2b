//! One run of the App reconciler: observe, judge, plan, tell, act on the first step, and again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api_types::event::EventType;
use api_types::kinds::app::{AppStatus, VerdictPhase};
use api_types::{Host, Reason};
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, info};
use uuid::Uuid;

use super::apply::{ApplyError, Executor};
use super::causes::Cause;
use super::desired::{self, Desired};
use super::drift::{self, Finding};
use super::index::AppIndex;
use super::ledger::DriftWatch;
use super::metrics::AppMetrics;
use super::model::{Model, Observed};
use super::observe::Observer;
use super::plan::{self, Gate, Step};
use super::quiet::Quiet;
use super::records::SharedRecords;
use super::snapshot;
use super::status::{self, Inputs};
use super::verdict::{self, Judgement};
use super::wall::{Moment, Wall};
use super::{evidence, witness};
use crate::clock::SharedClock;
use crate::edge::awaited::Awaited;
use crate::engines::swarm::EngineError;
use crate::plan::{Fact, Plan, Step as _};
use crate::runtime::{BoxError, Class, Outcome, Reconciler, Run};
use crate::settings::{EndpointMode, Settings};
use crate::store::{AppKey, AppRecord, NewEvent, Revision, StoreError};

/// Steps of one run. More means that something undoes what we do; the queue then spaces the runs out.
const MAX_STEPS_PER_RUN: usize = 200;
/// Longest a shared look at all apps may take, before each is looked at by itself.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(6);

/// Until the next look while the proxy is behind; it comes earlier, when the proxy is no longer.
const EDGE_PATIENCE: Duration = Duration::from_secs(1);

/// How old an observation may be for what is decided and told from it. A write to our own rows takes some milliseconds.
const FRESH: Duration = Duration::from_millis(250);

/// How long a list that is behind our own writes is given to catch up.
const STALE: Duration = Duration::from_millis(200);

/// Where events go; never waits.
pub type EventSender = Arc<dyn Fn(NewEvent) + Send + Sync>;

/// Reconciles apps.
pub struct AppReconciler {
    /// The database.
    pub store: SharedRecords,
    /// Reads.
    pub observer: Observer,
    /// Acts.
    pub executor: Executor,
    /// Time.
    pub clock: SharedClock,
    /// Current settings.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Where events go.
    pub events: EventSender,
    /// What is counted.
    pub metrics: AppMetrics,
    /// Which apps a resync passes over.
    pub quiet: Quiet,
    /// Scheme and port of the edge, for URLs.
    pub edge: (&'static str, u16),
    /// Port of the edge for HTTPS, when it has one.
    pub https_port: Option<u16>,
    /// Until when (monotonic) nothing is removed or scaled down: right after the engine came back its
    /// lists may still show what was before.
    pub quiet_until: Arc<Mutex<Duration>>,
    /// Finds apps by what they own.
    pub index: Arc<AppIndex>,
    /// What was changed behind our back.
    pub drift: DriftWatch,
    /// When each app was last told about.
    pub wall: Wall,
    /// Why the deletion of an app does not go on, by app. Memory only.
    pub held_up: Mutex<HashMap<Uuid, String>>,
    /// Which apps wait for the proxy.
    pub edge_awaited: Arc<Awaited<AppKey>>,
    /// Why images could not be resolved, by app. Memory only: it is found out again.
    pub image_errors: Mutex<HashMap<Uuid, Cause>>,
}

/// The rows of one app.
struct Rows {
    record: AppRecord,
    newest: Revision,
    proven: Option<Revision>,
    hosts: Vec<Host>,
    route: Fact<crate::edge::Route>,
}

/// What a run knows: the rows of an app, and what was observed of it.
struct Known {
    rows: Rows,
    /// What the rows ask for.
    desired: Desired,
    observed: Observed,
    failure: Option<EngineError>,
    /// When (monotonic) reading began.
    since: Duration,
    /// Whether the status that follows from this observation was written.
    told: bool,
}

/// What became of a step.
enum Taken {
    /// It was taken.
    Done,
    /// It was taken, and found what the image is. Nothing else moved.
    Resolved(String),
    /// Its failure was written down; what follows from it shows.
    LookAgain,
    /// The run ends.
    End(Outcome),
}

/// What one look at the world gave.
struct Look {
    model: Model,
    judgement: Judgement,
    plan: Plan<Step, Gate>,
    drift: Vec<Finding>,
    moment: Moment,
}

#[async_trait]
impl Reconciler for AppReconciler {
    type Key = AppKey;

    fn name(&self) -> &'static str {
        "app"
    }

    async fn reconcile(&self, key: &AppKey, run: &Run) -> Outcome {
        let begun = self.quiet.run_begins(key);
        let outcome = match self.run(key, run).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::failed(store_class(&error), error),
        };
        self.quiet.run_ended(key, begun, matches!(outcome, Outcome::Done { requeue_after: None }));
        outcome
    }

    async fn keys(&self) -> Result<Vec<AppKey>, BoxError> {
        let keys = self.store.app_keys_all().await?;
        self.metrics.keep(&keys);
        Ok(self.not_quiet(keys).await)
    }

    async fn dirty_keys(&self) -> Result<Vec<AppKey>, BoxError> {
        Ok(self.store.app_keys_dirty().await?)
    }
}

impl AppReconciler {
    /// The apps that something moved for, or that were not at rest; all of them when that cannot be told.
    async fn not_quiet(&self, keys: Vec<AppKey>) -> Vec<AppKey> {
        let settings = self.settings.borrow().clone();
        let look = async { snapshot::digests(&self.observer, self.store.app_heads().await.ok()?, &settings).await };
        let Ok(Some(digests)) = timeout(SNAPSHOT_LIMIT, look).await else {
            debug!("no shared look at all apps; each is looked at by itself");
            return keys;
        };
        // One that the snapshot does not hold was created or deleted meanwhile: it is looked at too.
        let quiet = self.quiet.apps_to_pass_over(digests);
        keys.into_iter().filter(|key| !quiet.contains(key)).collect()
    }

    async fn run(&self, key: &AppKey, run: &Run) -> Result<Outcome, StoreError> {
        // What was read is used again while only rows of ours were written since: reading is most of what a change costs.
        let mut kept = None;
        for _ in 0..MAX_STEPS_PER_RUN {
            if run.cancel.is_cancelled() {
                return Ok(Outcome::failed(Class::Cancelled, "the run was cancelled"));
            }
            let is_fresh = |known: &Known| self.clock.monotonic().saturating_sub(known.since) < FRESH;
            let mut known = match kept.take().filter(is_fresh) {
                Some(known) => known,
                None => match self.know(key, run.epoch).await? {
                    Some(known) => known,
                    None => return Ok(Outcome::done()),
                },
            };
            // Not even told: what was told last is as new as this.
            if let Some(error @ EngineError::Stale { .. }) = known.failure {
                return Ok(Outcome::failed(Class::Waiting(STALE), error));
            }
            let look = self.look(&known, run.epoch);
            // The verdict first: whatever follows from it must not be done before it is durable.
            if look.judgement.verdict != known.rows.newest.verdict {
                self.store_verdict(&known, &look, run.epoch).await?;
                // After one that failed another generation is wanted, of which other things have to be known; and that an app is
                // ready is told from what was seen after it was written.
                if matches!(look.judgement.verdict.phase, VerdictPhase::Pending | VerdictPhase::Rolling) {
                    known.rows.newest.verdict = look.judgement.verdict;
                    known.desired = self.desired(&known.rows);
                    kept = Some(known);
                }
                continue;
            }
            if !(known.told && look.plan.next().is_some_and(Step::adds)) {
                known.rows.record.status = self.tell(&known, &look, run.epoch).await?;
                known.told = true;
            }
            if let Some(error) = known.failure {
                return Ok(Outcome::failed(Class::Transient, error));
            }
            if look.plan.next().is_none() {
                return Ok(self.wait(&known, &look));
            }
            for step in look.plan.at_once(Step::adds) {
                if run.cancel.is_cancelled() {
                    break;
                }
                match self.take(step, &known, &look, run.epoch).await? {
                    Taken::Done => {}
                    Taken::Resolved(image) => {
                        known.rows.newest.resolved_image = Some(image);
                        known.desired = self.desired(&known.rows);
                        kept = Some(known);
                        break;
                    }
                    Taken::LookAgain => break,
                    Taken::End(outcome) => return Ok(outcome),
                }
            }
        }
        Ok(Outcome::failed(Class::Transient, "too many steps in one run; something undoes what is done"))
    }

    /// Takes one step.
    async fn take(&self, step: &Step, known: &Known, look: &Look, epoch: i64) -> Result<Taken, StoreError> {
        if let Some(left) = self.quiet_for(step) {
            return Ok(Taken::End(Outcome::requeue(left)));
        }
        let record = &known.rows.record;
        info!(app = %record.key(), step = %step, word = step.word(), "step");
        self.drift.before(step, &known.desired, epoch);
        let resolved = match self.executor.apply(step, &known.desired, &look.model, epoch).await {
            Ok(resolved) => resolved,
            Err(error) => return Ok(self.step_failed(known, look, step, error, epoch).await?.map_or(Taken::LookAgain, Taken::End)),
        };
        if !look.drift.is_empty() {
            self.drift.after(step, &known.desired, epoch);
        }
        self.image_errors.lock().unwrap_or_else(PoisonError::into_inner).remove(&known.desired.owner.uid);
        self.held_up.lock().unwrap_or_else(PoisonError::into_inner).remove(&known.desired.owner.uid);
        self.event(&known.desired, EventType::Normal, step.word(), step.to_string());
        if *step == Step::Finalize {
            self.index.remove(record);
            self.wall.forget(record.uid);
            self.metrics.forget(&record.key());
            self.edge_awaited.forget(&record.key());
            return Ok(Taken::End(Outcome::done()));
        }
        Ok(resolved.map_or(Taken::Done, Taken::Resolved))
    }

    /// Reads the rows of an app. `None` when it is gone.
    async fn load(&self, key: &AppKey, epoch: i64) -> Result<Option<Rows>, StoreError> {
        let Some(record) = self.store.app_get(&key.org, &key.name).await? else { return Ok(None) };
        self.index.insert(&record);
        // Asked at once: what a user waits for is mostly such round trips.
        let (uid, generation) = (record.uid, record.generation);
        let (newest, proven, custom, route) = tokio::try_join!(
            self.store.revision_get(uid, generation),
            self.store.revision_latest_proven(uid, generation),
            self.store.domains_of_app(uid),
            self.store.route_get(uid),
        )?;
        let Some(mut newest) = newest else {
            return Err(StoreError::Missing { what: "the revision of the app's newest generation" });
        };
        if newest.resolved_image.is_none()
            && let Some(before) = self.store.revision_get(record.uid, record.generation - 1).await?
            && before.spec.image == newest.spec.image
            // What it was found to be is not to be had: look again.
            && !before.verdict.is_about_the_image()
            && let Some(image) = before.resolved_image
        {
            // The same reference keeps its meaning: a change of scale must not bring a new image along.
            self.store.revision_image_put(record.uid, record.generation, &image, epoch).await?;
            newest.resolved_image = Some(image);
        }
        let platform = self.settings.borrow().platform_host(&record.org, &record.name);
        let hosts = desired::hosts(&newest.spec, custom, platform);
        let route = route.map_or(Fact::Absent, Fact::Known);
        Ok(Some(Rows { record, newest, proven, hosts, route }))
    }

    /// Reads the rows of an app, and what there is of it. `None` when it is gone.
    async fn know(&self, key: &AppKey, epoch: i64) -> Result<Option<Known>, StoreError> {
        let since = self.clock.monotonic();
        let Some(rows) = self.load(key, epoch).await? else { return Ok(None) };
        let desired = self.desired(&rows);
        let (observed, failure) = self.observer.observe(&desired, rows.route.clone()).await;
        Ok(Some(Known { rows, desired, observed, failure, since, told: false }))
    }

    fn desired(&self, rows: &Rows) -> Desired {
        let dnsrr = self.settings.borrow().endpoint_mode() == EndpointMode::Dnsrr;
        Desired::new(&rows.record, &rows.newest, rows.proven.as_ref(), rows.hosts.clone(), dnsrr)
    }

    /// Judges and plans from what is known; changes nothing.
    fn look(&self, known: &Known, epoch: i64) -> Look {
        let Known { rows, desired, observed, .. } = known;
        let moment = Moment::of(&self.clock);
        let now = moment.now;
        let before = self.wall.translate(rows.record.uid, rows.record.status.rollout, moment);
        let mut model = Model::new(desired, observed, before, now);
        let drift = self.drift.find(desired, observed, epoch);
        model.held = drift::held(desired, &drift);
        let image_error = self.image_error(rows.record.uid);
        let judged = verdict::Look { desired, observed, model: &model, image_error: image_error.as_ref() };
        let judgement = verdict::judge(&judged, before, now);
        let plan = plan::plan(desired, &model);
        Look { model, judgement, plan, drift, moment }
    }

    async fn store_verdict(&self, known: &Known, look: &Look, epoch: i64) -> Result<(), StoreError> {
        let (rows, verdict) = (&known.rows, &look.judgement.verdict);
        let (uid, generation) = (rows.record.uid, rows.record.generation);
        self.store.revision_verdict_put(uid, generation, verdict, epoch).await?;
        self.metrics.judged(verdict, &look.judgement.rollout);
        if verdict.phase == VerdictPhase::Failed {
            self.keep_evidence(known, look, epoch).await?;
        }
        let (event_type, text) = match verdict.phase {
            VerdictPhase::Failed => {
                (EventType::Warning, format!("generation {generation} failed: {}", verdict.message.as_deref().unwrap_or("")))
            }
            VerdictPhase::Ready => (EventType::Normal, format!("generation {generation} is proven to serve")),
            VerdictPhase::Rolling | VerdictPhase::Pending => (EventType::Normal, format!("generation {generation} is being rolled out")),
        };
        let word = verdict.reason.map_or_else(|| format!("{:?}", verdict.phase), |reason| reason.to_string());
        self.event(&known.desired, event_type, &word, text);
        Ok(())
    }

    /// Keeps the task that shows the failure, before it is taken away for the generation before.
    async fn keep_evidence(&self, known: &Known, look: &Look, epoch: i64) -> Result<(), StoreError> {
        let (rows, verdict) = (&known.rows, &look.judgement.verdict);
        let tasks_show = [verdict.cause, verdict.reason].into_iter().flatten().any(witness::can_show);
        match witness::find(&known.observed, Some(rows.record.generation)).filter(|_| tasks_show) {
            Some(found) => evidence::keep(&*self.observer.engine, &*self.store, (&rows.record, &rows.newest), found, epoch).await,
            None => Ok(()),
        }
    }

    /// Writes the status and what it was made from, where they changed; returns the status.
    async fn tell(&self, known: &Known, look: &Look, epoch: i64) -> Result<AppStatus, StoreError> {
        let rows = &known.rows;
        // The ledger first: the old status says that there are rows to end, and must stand until they are.
        for event in self.drift.record(&rows.record, (&known.desired, &look.model), &look.drift, epoch).await? {
            (self.events)(event);
        }
        let image_error = self.image_error(rows.record.uid);
        let held_up = self.held_up.lock().unwrap_or_else(PoisonError::into_inner).get(&rows.record.uid).cloned();
        let status: AppStatus = status::status(&Inputs {
            desired: &known.desired,
            observed: &known.observed,
            model: &look.model,
            judgement: &look.judgement,
            plan: &look.plan,
            drift: &look.drift,
            image_error: image_error.as_ref(),
            held_up: held_up.as_deref(),
            previous: &rows.record.status,
            edge: self.edge,
            https_port: self.https_port,
            now: self.clock.now(),
        });
        self.metrics.saw(&rows.record.key(), &status.conditions);
        self.store.app_status_put(rows.record.uid, &status, rows.record.desired_version, epoch).await?;
        self.wall.written(rows.record.uid, look.moment);
        if known.failure.is_none() {
            match serde_json::to_value(&known.observed) {
                Ok(value) => self.store.observation_put(rows.record.uid, &value, epoch).await?,
                Err(error) => debug!(%error, "an observation could not be written down"),
            }
        }
        Ok(status)
    }

    fn image_error(&self, uid: Uuid) -> Option<Cause> {
        self.image_errors.lock().unwrap_or_else(PoisonError::into_inner).get(&uid).cloned()
    }

    /// When to look again.
    fn wait(&self, known: &Known, look: &Look) -> Outcome {
        if self.drift.awaits_an_end(&known.observed) {
            return Outcome::requeue(Duration::from_millis(300));
        }
        let Some(gate) = look.plan.gate() else { return Outcome::done() };
        let rollout = look.judgement.rollout;
        let elapsed = (self.clock.now() - rollout.last_progress_at).to_std().unwrap_or_default();
        // Often at first, when things move; later more seldom, but always well within the deadlines.
        let most = if look.judgement.verdict.phase == VerdictPhase::Rolling { 2 } else { 5 };
        let patience = (elapsed / 20).clamp(Duration::from_millis(150), Duration::from_secs(most));
        match gate {
            // Changes made meanwhile are looked at as they come; this is its end.
            Gate::Paused { pause } => {
                let left = pause.until.and_then(|until| (until - self.clock.now()).to_std().ok()).unwrap_or_default();
                Outcome::requeue(left + Duration::from_millis(1))
            }
            // Whatever changes wakes us; the ledger says when the held change was last seen.
            Gate::Held { .. } => Outcome::requeue(Duration::from_secs(60)),
            Gate::NameTaken { .. } | Gate::AdoptionRefused { .. } | Gate::StoreBehind { .. } => Outcome::requeue(Duration::from_secs(10)),
            Gate::Failed => Outcome::requeue(Duration::from_secs(5)),
            Gate::HealthWindow => {
                let window = known.desired.health_window(known.observed.other_edges).to_std().unwrap_or_default();
                let waited = rollout.healthy_since.and_then(|since| (self.clock.now() - since).to_std().ok()).unwrap_or_default();
                Outcome::requeue(window.saturating_sub(waited).clamp(Duration::from_millis(100), Duration::from_secs(1)))
            }
            Gate::EdgeServes { .. } | Gate::EdgeWithdrawn | Gate::Proof => {
                let (key, route) = (known.rows.record.key(), known.desired.owner.route_key());
                let is_awaited = self.edge_awaited.wait(key, route, *gate != Gate::EdgeWithdrawn);
                Outcome::requeue(if is_awaited { patience.max(EDGE_PATIENCE) } else { patience })
            }
            _ => Outcome::requeue(patience),
        }
    }

    fn quiet_for(&self, step: &Step) -> Option<Duration> {
        let destructive = match step {
            Step::ScaleService { from, to, .. } => to < from,
            Step::RemoveService { .. } | Step::RemoveSecret { .. } | Step::RemoveNetwork { .. } | Step::WithdrawRoute => true,
            _ => false,
        };
        let until = *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.checked_sub(self.clock.monotonic()).filter(|left| destructive && !left.is_zero())
    }

    /// Decides what a failed step means. `None`: look again at once.
    async fn step_failed(
        &self,
        known: &Known,
        look: &Look,
        step: &Step,
        error: ApplyError,
        epoch: i64,
    ) -> Result<Option<Outcome>, StoreError> {
        let (rows, desired) = (&known.rows, &known.desired);
        let error = match error {
            ApplyError::Store { source } => return Err(source),
            ApplyError::Changed { .. } => return Ok(Some(Outcome::failed(Class::Conflict, error))),
            ApplyError::Engine { source } => source,
        };
        let text = format!("{step}: {error}");
        let is_image = matches!(step, Step::ResolveImage { .. });
        let fatal = match &error {
            EngineError::NotFound { .. } if is_image => Some((Reason::ImageNotFound, error.to_string())),
            EngineError::Denied { .. } if is_image => Some((Reason::RegistryDenied, error.to_string())),
            EngineError::Invalid { .. } => Some((Reason::EngineRefused, text.clone())),
            _ => None,
        };
        if let Some((reason, message)) = fatal.filter(|_| desired.target.generation == desired.generation && !desired.deleting) {
            let mut verdict = look.judgement.verdict.clone();
            verdict.phase = VerdictPhase::Failed;
            (verdict.reason, verdict.message, verdict.time) = (Some(reason), Some(message.clone()), self.clock.now());
            self.store.revision_verdict_put(rows.record.uid, rows.record.generation, &verdict, epoch).await?;
            self.metrics.judged(&verdict, &look.judgement.rollout);
            self.event(desired, EventType::Warning, &reason.to_string(), format!("generation {} failed: {message}", desired.generation));
            return Ok(None);
        }
        // An engine that does not answer says nothing about a registry.
        if is_image && !matches!(error, EngineError::Unreachable { .. }) {
            let message = format!("{error}; it is asked again until the rollout's deadline");
            let cause = Cause { reason: Reason::RegistryUnreachable, message };
            self.image_errors.lock().unwrap_or_else(PoisonError::into_inner).insert(desired.owner.uid, cause);
        }
        let class = engine_class(&error);
        let is_quiet = matches!(error, EngineError::Stale { .. } | EngineError::NotLeading { .. });
        if desired.deleting && !is_quiet {
            self.held_up.lock().unwrap_or_else(PoisonError::into_inner).insert(desired.owner.uid, text.clone());
        }
        if !matches!(class, Class::Conflict) && !is_quiet {
            self.event(desired, EventType::Warning, step.word(), text);
        }
        Ok(Some(Outcome::failed(class, error)))
    }

    fn event(&self, desired: &Desired, event_type: EventType, reason: &str, message: String) {
        (self.events)(desired.event(event_type, reason, message));
    }
}

fn engine_class(error: &EngineError) -> Class {
    match error {
        EngineError::OutOfSequence { .. } | EngineError::NameTaken { .. } | EngineError::NotFound { .. } => Class::Conflict,
        EngineError::InUse { .. } => Class::Waiting(Duration::from_millis(500)),
        EngineError::Stale { .. } => Class::Waiting(STALE),
        EngineError::Invalid { .. }
        | EngineError::Denied { .. }
        | EngineError::NotManager { .. }
        | EngineError::NotLeading { .. }
        | EngineError::Unreachable { .. }
        | EngineError::RegistrySilent { .. }
        | EngineError::Other { .. } => Class::Transient,
    }
}

fn store_class(error: &StoreError) -> Class {
    match error {
        StoreError::Deposed => Class::Cancelled,
        _ => Class::Transient,
    }
}
