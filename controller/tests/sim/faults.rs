//! Which act is hit by what. Acts are counted over all processes of a world, so that a plan names one act of a run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use skyswarm::effects::{Effect, Effects, Fault, Injector, Kind, SLOW};
use tokio::time::Instant;

use crate::world::STEP;

/// Decides what happens to the n-th act since counting began.
pub(crate) type Plan = Box<dyn Fn(u64, &Effect) -> Option<Fault> + Send + Sync>;

/// Shared by all processes of a world.
pub(crate) struct Faults {
    plan: Mutex<Plan>,
    count: AtomicU64,
    /// Kinds of the acts since counting began.
    trace: Mutex<Vec<Kind>>,
    /// What was hit, for messages.
    hit: Mutex<Vec<String>>,
    /// When the last status write that was held up began.
    slow_status: Mutex<Option<Instant>>,
}

impl Faults {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            plan: Mutex::new(Box::new(|_, _| None)),
            count: AtomicU64::new(0),
            trace: Mutex::default(),
            hit: Mutex::default(),
            slow_status: Mutex::default(),
        })
    }
    /// Begins to count acts anew, under a plan.
    pub(crate) fn begin(&self, plan: Plan) {
        *self.plan.lock().expect("unpoisoned") = plan;
        self.count.store(0, Ordering::Release);
        self.trace.lock().expect("unpoisoned").clear();
        self.hit.lock().expect("unpoisoned").clear();
    }
    /// Nothing goes wrong any more.
    pub(crate) fn stop(&self) {
        *self.plan.lock().expect("unpoisoned") = Box::new(|_, _| None);
    }
    pub(crate) fn trace(&self) -> Vec<Kind> {
        self.trace.lock().expect("unpoisoned").clone()
    }
    /// When the status that lands now was written, if it was held up.
    pub(crate) fn slow_status(&self) -> Option<Instant> {
        self.slow_status.lock().expect("unpoisoned").filter(|since| since.elapsed() <= SLOW + STEP)
    }
    pub(crate) fn hit(&self) -> Vec<String> {
        self.hit.lock().expect("unpoisoned").clone()
    }
}

/// The end of one process that a fault reaches.
pub(crate) struct Life {
    faults: Arc<Faults>,
    dead: Arc<AtomicBool>,
}

impl Life {
    /// The boundary of a process, and whether a fault has killed it.
    pub(crate) fn begin(faults: &Arc<Faults>) -> (Effects, Arc<AtomicBool>) {
        let dead = Arc::new(AtomicBool::new(false));
        (Effects::injected(Self { faults: faults.clone(), dead: dead.clone() }), dead)
    }
}

impl Injector for Life {
    fn fault(&self, effect: &Effect) -> Option<Fault> {
        // Other tasks of a dead process may still get to run before they are taken away; they act no more.
        if self.dead.load(Ordering::Acquire) {
            return Some(Fault::KillBefore);
        }
        let number = self.faults.count.fetch_add(1, Ordering::AcqRel) + 1;
        self.faults.trace.lock().expect("unpoisoned").push(effect.kind);
        let fault = (self.faults.plan.lock().expect("unpoisoned"))(number, effect)?;
        if (fault, effect.kind) == (Fault::Slow, Kind::StatusPut) {
            *self.faults.slow_status.lock().expect("unpoisoned") = Some(Instant::now());
        }
        self.faults.hit.lock().expect("unpoisoned").push(format!("{fault} at {number} ({} {})", effect.kind, effect.key));
        Some(fault)
    }
    fn done(&self, _: &Effect, _: bool) {}
    fn kill(&self, _: &Effect) {
        self.dead.store(true, Ordering::Release);
    }
}
