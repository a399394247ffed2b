//! Log lines of services, task by task.
//!
//! Swarm's log of a whole service fails when one node is down and does not say which task wrote a line unless
//! asked in a way that the client library does not offer, so each task's log is read by itself. A task whose
//! log breaks off is taken up again from the last line; lines of one task keep their order, lines of different
//! tasks are merged by time only when nothing is followed. What the engine has already removed is lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bollard::query_parameters::LogsOptions;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::{self, BoxStream, SelectAll};
use tokio::time::Instant;

use super::lines::Lines;
use super::{DockerSwarm, EngineResult, LogQuery, LogRecord};

/// Tasks read at a time, the newest first.
const MAX_TASKS: usize = 100;
/// How long the log of a task may stay silent before it counts as read to its end. Swarm's brokers have
/// been seen to keep the log of a task that never started open.
const SILENCE: Duration = Duration::from_secs(5);

/// A task whose log is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) service: String,
    pub(super) slot: u64,
    pub(super) task_id: String,
    created_at: DateTime<Utc>,
    live: bool,
}

#[cfg(test)]
impl Source {
    pub(super) fn for_tests(task_id: &str) -> Self {
        Self { service: "shop-web".into(), slot: 1, task_id: task_id.into(), created_at: DateTime::UNIX_EPOCH, live: true }
    }
}

enum Piece {
    Record(LogRecord),
    /// The log of this task broke off or ended.
    End {
        task_id: String,
    },
}

impl DockerSwarm {
    pub(super) async fn service_logs(&self, query: &LogQuery) -> EngineResult<BoxStream<'static, EngineResult<LogRecord>>> {
        let sources = self.log_sources(&query.services).await?;
        Ok(if query.follow { follow(self.clone(), query.clone(), sources) } else { self.read_once(query, sources) })
    }

    /// Tasks of services by name. A service that is not there has none.
    async fn log_sources(&self, names: &[String]) -> EngineResult<Vec<Source>> {
        let mut service_names = BTreeMap::new();
        for name in names {
            let services = self.services(name).await?.into_iter().filter(|service| &service.spec.name == name);
            service_names.extend(services.map(|service| (service.id, service.spec.name)));
        }
        if service_names.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = service_names.keys().cloned().collect();
        // A task without a container has written nothing yet.
        let tasks = self.tasks(&ids).await?.into_iter().filter(|task| !task.container_id.is_empty());
        let mut sources: Vec<Source> = tasks
            .filter_map(|task| {
                let live = task.is_live();
                let service = service_names.get(&task.service_id)?.clone();
                Some(Source { service, slot: task.slot, task_id: task.id, created_at: task.created_at, live })
            })
            .collect();
        sources.sort_by_key(|source| std::cmp::Reverse(source.created_at));
        sources.truncate(MAX_TASKS);
        Ok(sources)
    }

    fn read_once(&self, query: &LogQuery, sources: Vec<Source>) -> BoxStream<'static, EngineResult<LogRecord>> {
        let streams = sources.into_iter().map(|source| {
            let pieces = self.open(source, false, query.since, query.tail, None);
            let timed = stream::unfold(pieces, |mut pieces| async move {
                let next = tokio::time::timeout(SILENCE, pieces.next()).await;
                next.ok().flatten().map(|piece| (piece, pieces))
            });
            let records = timed.filter_map(async |piece| match piece {
                Piece::Record(record) => Some(record),
                Piece::End { .. } => None,
            });
            records.boxed()
        });
        merge_by_time(streams.collect()).map(Ok).boxed()
    }

    /// One task's log. `after` leaves out what was read before.
    fn open(
        &self,
        source: Source,
        follow: bool,
        since: Option<DateTime<Utc>>,
        tail: Option<u32>,
        after: Option<DateTime<Utc>>,
    ) -> BoxStream<'static, Piece> {
        let from = after.or(since);
        let options = LogsOptions {
            follow,
            stdout: true,
            stderr: true,
            timestamps: true,
            // Whole seconds: the rest is left out below.
            since: from.map_or(0, |time| i32::try_from(time.timestamp()).unwrap_or(i32::MAX).max(0)),
            until: 0,
            tail: match (tail, after) {
                (Some(lines), None) => lines.to_string(),
                _ => "all".to_owned(),
            },
        };
        let frames = self.docker().task_logs(&source.task_id, Some(options)).boxed();
        let wanted =
            move |record: &LogRecord| since.is_none_or(|since| record.time >= since) && after.is_none_or(|after| record.time > after);
        let start = (frames, Lines::new(source), VecDeque::new(), false);
        let pieces = stream::unfold(start, |(mut frames, mut lines, mut ready, mut ended)| async move {
            loop {
                if let Some(record) = ready.pop_front() {
                    return Some((Piece::Record(record), (frames, lines, ready, ended)));
                }
                if ended {
                    return None;
                }
                match frames.next().await {
                    Some(Ok(frame)) => ended = !lines.push(frame, &mut ready),
                    Some(Err(_)) | None => ended = true,
                }
                if ended {
                    lines.finish(&mut ready);
                }
            }
        });
        let pieces = pieces.filter(move |piece| {
            std::future::ready(match piece {
                Piece::Record(record) => wanted(record),
                Piece::End { .. } => true,
            })
        });
        pieces.boxed()
    }
}

/// A log with its next record, once that is read.
struct Head {
    next: Option<LogRecord>,
    rest: BoxStream<'static, LogRecord>,
}

async fn with_next(mut head: Head) -> Option<Head> {
    if head.next.is_none() {
        head.next = head.rest.next().await;
    }
    head.next.is_some().then_some(head)
}

/// Merges streams that are in order of time into one.
fn merge_by_time(streams: Vec<BoxStream<'static, LogRecord>>) -> BoxStream<'static, LogRecord> {
    let heads: Vec<Head> = streams.into_iter().map(|rest| Head { next: None, rest }).collect();
    stream::unfold(heads, |heads| async move {
        let mut heads: Vec<Head> = join_all(heads.into_iter().map(with_next)).await.into_iter().flatten().collect();
        let oldest = heads.iter_mut().min_by_key(|head| head.next.as_ref().map(|record| record.time))?;
        let record = oldest.next.take()?;
        Some((record, heads))
    })
    .boxed()
}

struct Follow {
    engine: DockerSwarm,
    query: LogQuery,
    open: SelectAll<BoxStream<'static, Piece>>,
    open_tasks: BTreeSet<String>,
    /// Last line of each task that was read.
    read_up_to: BTreeMap<String, DateTime<Utc>>,
    /// Tasks whose log is read to its end, or whose live log was never opened.
    seen: BTreeSet<String>,
    next_look: Instant,
    first: bool,
}

impl Follow {
    fn take_up(&mut self, sources: Vec<Source>) {
        let present: BTreeSet<String> = sources.iter().map(|source| source.task_id.clone()).collect();
        for source in sources {
            let fresh = !self.seen.contains(&source.task_id);
            if self.open_tasks.contains(&source.task_id) || !(fresh || source.live) {
                continue;
            }
            let task_id = source.task_id.clone();
            let after = self.read_up_to.get(&task_id).copied();
            // A task that came later is read from its beginning.
            let tail = if self.first { self.query.tail } else { None };
            let end = stream::once(std::future::ready(Piece::End { task_id: task_id.clone() }));
            let pieces = self.engine.open(source, true, self.query.since, tail, after).chain(end);
            self.open.push(pieces.boxed());
            self.open_tasks.insert(task_id.clone());
            self.seen.insert(task_id);
        }
        self.first = false;
        self.seen.retain(|task_id| present.contains(task_id) || self.open_tasks.contains(task_id));
        self.read_up_to.retain(|task_id, _| self.seen.contains(task_id));
    }

    /// The next record, looking for new tasks from time to time.
    async fn next(&mut self) -> LogRecord {
        loop {
            let piece = tokio::select! {
                piece = self.open.next(), if !self.open.is_empty() => piece,
                () = tokio::time::sleep_until(self.next_look) => {
                    match self.engine.log_sources(&self.query.services).await {
                        Ok(sources) => self.take_up(sources),
                        Err(error) => tracing::debug!(%error, "cannot look for new tasks to follow"),
                    }
                    self.next_look = Instant::now() + self.engine.inner.options.log_poll;
                    None
                }
            };
            match piece {
                Some(Piece::Record(record)) => {
                    self.read_up_to.insert(record.task_id.clone(), record.time);
                    return record;
                }
                Some(Piece::End { task_id }) => {
                    self.open_tasks.remove(&task_id);
                }
                None => {}
            }
        }
    }
}

fn follow(engine: DockerSwarm, query: LogQuery, sources: Vec<Source>) -> BoxStream<'static, EngineResult<LogRecord>> {
    let next_look = Instant::now() + engine.inner.options.log_poll;
    let mut follow = Follow {
        engine,
        query,
        open: SelectAll::new(),
        open_tasks: BTreeSet::new(),
        read_up_to: BTreeMap::new(),
        seen: BTreeSet::new(),
        next_look,
        first: true,
    };
    follow.take_up(sources);
    stream::unfold(follow, |mut follow| async move {
        let record = follow.next().await;
        Some((Ok(record), follow))
    })
    .boxed()
}
