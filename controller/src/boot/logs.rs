//! Logs for the API, read from the engine by the process that holds it.
//!
//! A rollout replaces services, so while a log is followed the app's services are looked up again and
//! again, and the lines of new ones join in. Nothing is kept: what the engine has removed is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api_types::api::{LogLine, LogStream};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::stream::{self, BoxStream, SelectAll};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::api::state::LogLines;
use crate::api::{LogError, LogQuery, LogSource};
use crate::clock::SharedClock;
use crate::engines::swarm::{self, EngineError, EngineResult, LogRecord, SwarmEngine, labels};
use crate::kinds::app::names;
use crate::store::AppRecord;

/// How often services are looked up while a log is followed.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Logs from the engine.
pub(super) struct EngineLogs {
    pub(super) engine: Arc<dyn SwarmEngine>,
    pub(super) clock: SharedClock,
}

/// Logs of a process that has no engine.
pub(super) struct NoLogs;

#[async_trait]
impl LogSource for NoLogs {
    async fn logs(&self, _app: &AppRecord, _query: LogQuery) -> Result<LogLines, LogError> {
        Err(LogError::Unavailable {
            detail: "this server runs the API alone and has no engine; ask one that runs the controller".to_owned(),
        })
    }
}

#[async_trait]
impl LogSource for EngineLogs {
    async fn logs(&self, app: &AppRecord, query: LogQuery) -> Result<LogLines, LogError> {
        let adopted = app.adopted.keys().cloned().collect();
        let prefix = names::prefix(&app.name, app.uid);
        let reader = Reader { engine: self.engine.clone(), prefix, adopted, owner: app.uid.to_string(), query };
        let found = reader.services().await.map_err(unavailable)?;
        let first = reader.open(&found, reader.query.since, reader.query.tail).await.map_err(unavailable)?;
        if !reader.query.follow {
            return Ok(first.map(|record| record.map_err(unavailable)).boxed());
        }
        let mut timer = interval(LOOK_EVERY);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let known = found.keys().cloned().collect();
        let follower = Follower { reader, clock: self.clock.clone(), known, lines: SelectAll::from_iter([first]), timer };
        Ok(stream::unfold(follower, Follower::next).boxed())
    }
}

fn unavailable(error: EngineError) -> LogError {
    LogError::Unavailable { detail: error.to_string() }
}

/// What is read.
struct Reader {
    engine: Arc<dyn SwarmEngine>,
    prefix: String,
    /// Services that were taken over; they have names of their own.
    adopted: Vec<String>,
    owner: String,
    query: LogQuery,
}

type Lines = BoxStream<'static, EngineResult<LogLine>>;

impl Reader {
    /// The app's services that are wanted, by name, with their process.
    async fn services(&self) -> EngineResult<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        let mut services = self.engine.service_list(&self.prefix).await?;
        for name in &self.adopted {
            services.extend(self.engine.service_list(name).await?);
        }
        for service in services {
            let labels = service.spec.labels;
            let process = labels.get(labels::PROCESS).cloned().unwrap_or_default();
            let is_ours = labels.get(labels::OWNER_UID) == Some(&self.owner);
            let is_wanted = self.query.process.as_ref().is_none_or(|wanted| wanted.as_str() == process);
            if is_ours && is_wanted {
                found.insert(service.spec.name, process);
            }
        }
        Ok(found)
    }

    async fn open(&self, services: &BTreeMap<String, String>, since: Option<DateTime<Utc>>, tail: Option<u32>) -> EngineResult<Lines> {
        if services.is_empty() {
            return Ok(stream::empty().boxed());
        }
        let query = swarm::LogQuery { services: services.keys().cloned().collect(), follow: self.query.follow, since, tail };
        let processes = services.clone();
        let task = self.query.task.clone();
        let records = self.engine.logs(&query).await?.filter(move |record| {
            let is_wanted = task.as_ref().is_none_or(|task| record.as_ref().map_or(true, |record| record.task_id == *task));
            std::future::ready(is_wanted)
        });
        Ok(records.map(move |record| record.map(|record| line(record, &processes))).boxed())
    }
}

fn line(record: LogRecord, processes: &BTreeMap<String, String>) -> LogLine {
    let process = processes.get(&record.service).cloned().unwrap_or_default();
    LogLine {
        time: record.time,
        replica: format!("{process}.{}", record.slot),
        process,
        stream: if record.stderr { LogStream::Stderr } else { LogStream::Stdout },
        line: String::from_utf8_lossy(&record.line).into_owned(),
    }
}

/// A log that is followed.
struct Follower {
    reader: Reader,
    clock: SharedClock,
    known: BTreeSet<String>,
    lines: SelectAll<Lines>,
    timer: Interval,
}

impl Follower {
    async fn next(mut self) -> Option<(Result<LogLine, LogError>, Self)> {
        loop {
            tokio::select! {
                Some(line) = self.lines.next(), if !self.lines.is_empty() => return Some((line.map_err(unavailable), self)),
                _ = self.timer.tick() => {}
            }
            // A failed look is made up for by the next one.
            let Ok(mut found) = self.reader.services().await else { continue };
            let since = self.clock.now() - LOOK_EVERY * 2;
            let gone: Vec<String> = self.known.iter().filter(|name| !found.contains_key(*name)).cloned().collect();
            found.retain(|name, _| !self.known.contains(name));
            if let Ok(lines) = self.reader.open(&found, Some(since), None).await
                && !found.is_empty()
            {
                self.lines.push(lines);
                self.known.extend(found.into_keys());
            }
            for name in gone {
                self.known.remove(&name);
            }
        }
    }
}
