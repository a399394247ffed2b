//! Faults in a server that a test started: two variables, in builds with debug assertions only.
//!
//! `SKYSWARM_FAULTS` holds faults separated by commas, each `MODE:ORDINAL` (the n-th act of this process) or
//! `MODE:KIND:NUMBER` (the n-th act of a kind), such as `kill_after:17` or `lost_reply:service_create:1`. The two modes
//! that kill abort the process: no destructor runs, as with SIGKILL.
//! `SKYSWARM_EFFECTS_LOG` names a file to which a line is appended for each act, `ORDINAL KIND KEY WHAT`, where `WHAT` is
//! `begins`, a mode, `done` or `failed`. Lines are whole even when the process dies right after one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use super::{Effect, Effects, Fault, Injector, Kind};

/// Faults to inject.
pub const FAULTS: &str = "SKYSWARM_FAULTS";
/// Where acts are written down.
pub const LOG: &str = "SKYSWARM_EFFECTS_LOG";

/// Which act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    Any(u64),
    Of(Kind, u64),
}

/// A variable that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{FAULTS} has \"{0}\", which is neither MODE:ORDINAL nor MODE:KIND:NUMBER")]
pub struct BadFault(String);

struct FromEnv {
    faults: Vec<(Fault, Point)>,
    counts: Mutex<BTreeMap<Kind, u64>>,
    log: Option<File>,
}

/// What the environment asks for; nothing when neither variable is set.
///
/// # Errors
/// When `SKYSWARM_FAULTS` is not as described, or the log cannot be opened.
pub fn from_env() -> anyhow::Result<Effects> {
    let faults = parse(&std::env::var(FAULTS).unwrap_or_default())?;
    let log = match std::env::var_os(LOG) {
        Some(path) => Some(File::options().create(true).append(true).open(path)?),
        None => None,
    };
    if faults.is_empty() && log.is_none() {
        return Ok(Effects::none());
    }
    tracing::warn!(?faults, "faults are injected into this process; this is for tests only");
    Ok(Effects::injected(FromEnv { faults, counts: Mutex::default(), log }))
}

fn parse(text: &str) -> Result<Vec<(Fault, Point)>, BadFault> {
    let one = |item: &str| {
        let mut parts = item.split(':');
        let mode = parts.next()?;
        let fault = Fault::ALL.into_iter().find(|fault| fault.word() == mode)?;
        let point = match (parts.next()?, parts.next(), parts.next()) {
            (ordinal, None, None) => Point::Any(ordinal.parse().ok()?),
            (kind, Some(number), None) => Point::Of(Kind::ALL.into_iter().find(|known| known.word() == kind)?, number.parse().ok()?),
            _ => return None,
        };
        Some((fault, point))
    };
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| one(item).ok_or_else(|| BadFault(item.to_owned()))).collect()
}

impl FromEnv {
    fn write(&self, effect: &Effect, what: &str) {
        if let Some(mut log) = self.log.as_ref() {
            // A test that reads the log notices a line that is missing.
            let _ = log.write_all(format!("{effect} {what}\n").as_bytes());
        }
    }
}

impl Injector for FromEnv {
    fn fault(&self, effect: &Effect) -> Option<Fault> {
        let number = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(effect.kind).or_default();
            *count += 1;
            *count
        };
        let is_it = |point: Point| point == Point::Any(effect.ordinal) || point == Point::Of(effect.kind, number);
        let fault = self.faults.iter().find(|(_, point)| is_it(*point)).map(|(fault, _)| *fault);
        self.write(effect, fault.map_or("begins", Fault::word));
        fault
    }

    fn done(&self, effect: &Effect, worked: bool) {
        self.write(effect, if worked { "done" } else { "failed" });
    }

    fn kill(&self, _: &Effect) {
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_named_by_ordinal_or_by_kind_and_number() {
        let parsed = parse(" kill_after:17, lost_reply:service_create:1 ,").unwrap();
        assert_eq!(parsed, [(Fault::KillAfter, Point::Any(17)), (Fault::LostReply, Point::Of(Kind::ServiceCreate, 1))]);
        assert_eq!(parse("").unwrap(), []);
        for bad in ["kill", "kill_after", "kill_after:x", "kill_after:service_create", "kill_after:nothing:1", "error:1:2:3"] {
            assert!(parse(bad).is_err_and(|error| error.to_string().contains(bad)), "{bad}");
        }
    }

    #[test]
    fn a_log_has_a_line_for_what_begins_and_one_for_what_became_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let faults = parse("error:verdict_put:2").unwrap();
        let log = Some(File::options().create(true).append(true).open(&path).unwrap());
        let injector = FromEnv { faults, counts: Mutex::default(), log };
        for ordinal in 1..=2 {
            let effect = Effect { ordinal, kind: Kind::VerdictPut, key: "shop".to_owned() };
            if injector.fault(&effect).is_none() {
                injector.done(&effect, true);
            }
        }
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text, "1 verdict_put shop begins\n1 verdict_put shop done\n2 verdict_put shop error\n");
    }
}
