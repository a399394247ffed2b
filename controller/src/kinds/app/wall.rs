//! Steps of the wall clock: what was timed by the old one is timed by the new one.
//!
//! How far a rollout is, is remembered as wall times in its status, because it has to outlive this process. A clock that is
//! stepped (by NTP, by hand) would let a deadline pass early, or never. So the monotonic clock says how long it really was
//! since the last look at an app, and the times are moved by the difference.
//!
//! A step while no controller runs cannot be seen; times in the future then count as now.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use api_types::kinds::app::RolloutStatus;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::clock::SharedClock;

/// Smaller differences are how two clocks run.
const STEP: TimeDelta = TimeDelta::seconds(1);

/// One moment, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// By the wall.
    pub now: DateTime<Utc>,
    /// Since some time.
    pub monotonic: Duration,
}

impl Moment {
    /// This moment.
    pub fn of(clock: &SharedClock) -> Self {
        Self { now: clock.now(), monotonic: clock.monotonic() }
    }
}

/// Remembers when each app was last told about. One small entry an app.
#[derive(Debug, Default)]
pub struct Wall(Mutex<HashMap<Uuid, Moment>>);

impl Wall {
    /// What was remembered at the last look, in times of the clock as it is at `moment`.
    pub fn translate(&self, uid: Uuid, rollout: Option<RolloutStatus>, moment: Moment) -> Option<RolloutStatus> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&uid).copied();
        let step = last.map_or(TimeDelta::zero(), |last| stepped(last, moment));
        let moved = |time: DateTime<Utc>| (time + step).min(moment.now);
        rollout.map(|rollout| RolloutStatus {
            started_at: moved(rollout.started_at),
            last_progress_at: moved(rollout.last_progress_at),
            healthy_since: rollout.healthy_since.map(moved),
            unknown_since: rollout.unknown_since.map(moved),
            ..rollout
        })
    }

    /// What was seen at `moment` has been written down.
    pub fn written(&self, uid: Uuid, moment: Moment) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, moment);
    }

    /// An app is gone.
    pub fn forget(&self, uid: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
    }
}

/// By how much the wall clock went further than time did.
fn stepped(last: Moment, now: Moment) -> TimeDelta {
    let passed = TimeDelta::from_std(now.monotonic.saturating_sub(last.monotonic)).unwrap_or(TimeDelta::zero());
    let step = (now.now - last.now) - passed;
    if step.abs() < STEP { TimeDelta::zero() } else { step }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: i64, monotonic: u64) -> Moment {
        Moment { now: DateTime::UNIX_EPOCH + TimeDelta::seconds(wall), monotonic: Duration::from_secs(monotonic) }
    }

    fn rollout(progress: i64, healthy: Option<i64>) -> RolloutStatus {
        let time = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        RolloutStatus {
            generation: 1,
            started_at: time(progress),
            last_progress_at: time(progress),
            progress: 1,
            healthy_since: healthy.map(time),
            unknown_since: None,
        }
    }

    #[test]
    fn a_step_moves_what_is_remembered_and_time_that_passes_does_not() {
        let (wall, uid) = (Wall::default(), Uuid::nil());
        wall.written(uid, at(100_000, 50));
        let moved = |moment| wall.translate(uid, Some(rollout(99_990, Some(99_995))), moment);
        assert_eq!(moved(at(100_010, 60)), Some(rollout(99_990, Some(99_995))), "ten seconds passed");
        assert_eq!(moved(at(103_610, 60)), Some(rollout(103_590, Some(103_595))), "an hour forward, and ten seconds");
        assert_eq!(moved(at(96_410, 60)), Some(rollout(96_390, Some(96_395))), "an hour back, and ten seconds");
    }

    #[test]
    fn without_a_last_look_a_time_in_the_future_is_now() {
        let wall = Wall::default();
        assert_eq!(wall.translate(Uuid::nil(), Some(rollout(500, None)), at(100, 1)), Some(rollout(100, None)));
        wall.written(Uuid::nil(), at(400, 1));
        wall.forget(Uuid::nil());
        assert_eq!(wall.translate(Uuid::nil(), Some(rollout(50, None)), at(100, 1)), Some(rollout(50, None)));
    }
}
