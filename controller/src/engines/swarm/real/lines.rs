//! Frames of a task's log as lines.
//!
//! The engine cuts long lines into frames without an end; they are joined up to a limit and then given out as
//! they are, so memory stays bounded whatever an app writes.

use std::collections::VecDeque;

use bollard::container::LogOutput;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};

use super::logs::Source;
use crate::engines::swarm::LogRecord;

/// Longest line given out; a longer one becomes several.
pub(super) const MAX_LINE: usize = 16 * 1024;

#[derive(Default)]
struct Pending {
    time: Option<DateTime<Utc>>,
    text: BytesMut,
}

/// Puts frames of one task together.
pub(super) struct Lines {
    source: Source,
    stdout: Pending,
    stderr: Pending,
    last: DateTime<Utc>,
}

impl Lines {
    pub(super) fn new(source: Source) -> Self {
        Self { source, stdout: Pending::default(), stderr: Pending::default(), last: DateTime::UNIX_EPOCH }
    }

    /// Takes a frame; `false` when it is no output but the engine's word that the log broke.
    pub(super) fn push(&mut self, frame: LogOutput, ready: &mut VecDeque<LogRecord>) -> bool {
        let (stderr, message) = match frame {
            LogOutput::StdOut { message } | LogOutput::StdIn { message } => (false, message),
            LogOutput::StdErr { message } => (true, message),
            LogOutput::Console { message } => {
                tracing::debug!(task = self.source.task_id, bytes = message.len(), "the engine broke off a log");
                return false;
            }
        };
        let (time, text) = split_time(&message);
        let time = time.unwrap_or(self.last);
        self.last = time;
        let ended = text.ends_with(b"\n");
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if at > 0 {
                self.flush(stderr, true, ready);
            }
            self.append(stderr, time, line, ready);
        }
        if ended {
            self.flush(stderr, true, ready);
        }
        true
    }

    /// Gives out what has no end yet.
    pub(super) fn finish(&mut self, ready: &mut VecDeque<LogRecord>) {
        self.flush(false, false, ready);
        self.flush(true, false, ready);
    }

    fn pending(&mut self, stderr: bool) -> &mut Pending {
        if stderr { &mut self.stderr } else { &mut self.stdout }
    }

    fn append(&mut self, stderr: bool, time: DateTime<Utc>, mut text: &[u8], ready: &mut VecDeque<LogRecord>) {
        self.pending(stderr).time.get_or_insert(time);
        while !text.is_empty() {
            let pending = self.pending(stderr);
            if pending.text.len() >= MAX_LINE {
                self.flush(stderr, false, ready);
                self.pending(stderr).time = Some(time);
                continue;
            }
            let room = MAX_LINE - pending.text.len();
            let (now, later) = text.split_at(room.min(text.len()));
            pending.text.extend_from_slice(now);
            text = later;
        }
    }

    /// Gives out the pending line. Without an end, an empty one is no line.
    fn flush(&mut self, stderr: bool, ended: bool, ready: &mut VecDeque<LogRecord>) {
        let pending = std::mem::take(self.pending(stderr));
        let Some(time) = pending.time else { return };
        if pending.text.is_empty() && !ended {
            return;
        }
        let mut line = pending.text.freeze();
        if ended && line.ends_with(b"\r") {
            line.truncate(line.len() - 1);
        }
        let Source { service, slot, task_id, .. } = &self.source;
        ready.push_back(LogRecord { time, service: service.clone(), slot: *slot, task_id: task_id.clone(), stderr, line });
    }
}

/// The timestamp that the engine writes before each frame.
fn split_time(message: &Bytes) -> (Option<DateTime<Utc>>, &[u8]) {
    let Some(space) = message.iter().take(40).position(|byte| *byte == b' ') else { return (None, message) };
    let (head, rest) = message.split_at(space);
    let time = std::str::from_utf8(head).ok().and_then(|head| DateTime::parse_from_rfc3339(head).ok());
    match time {
        Some(time) => (Some(time.with_timezone(&Utc)), rest.get(1..).unwrap_or_default()),
        None => (None, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: &str = "2026-01-02T03:04:05.000000006Z ";

    fn read(frames: &[(bool, String)]) -> Vec<(bool, String)> {
        let mut lines = Lines::new(Source::for_tests("task1"));
        let mut ready = VecDeque::new();
        for (stderr, text) in frames {
            let message = Bytes::from(text.clone());
            let frame = if *stderr { LogOutput::StdErr { message } } else { LogOutput::StdOut { message } };
            assert!(lines.push(frame, &mut ready));
        }
        lines.finish(&mut ready);
        ready.into_iter().map(|record| (record.stderr, String::from_utf8_lossy(&record.line).into_owned())).collect()
    }

    #[test]
    fn frames_become_lines() {
        let frames = [(false, format!("{T}hello world\n")), (true, format!("{T}oops\r\n")), (false, format!("{T}\n"))];
        assert_eq!(read(&frames), [(false, "hello world".into()), (true, "oops".into()), (false, String::new())]);
    }

    #[test]
    fn a_cut_line_is_joined_within_its_stream() {
        let frames = [(false, format!("{T}one ")), (true, format!("{T}error\n")), (false, format!("{T}two\n"))];
        assert_eq!(read(&frames), [(true, "error".into()), (false, "one two".into())]);
    }

    #[test]
    fn a_line_without_end_is_cut_at_the_limit() {
        let frames = [(false, format!("{T}{}", "x".repeat(MAX_LINE + 10))), (false, format!("{T}y\n"))];
        let lines = read(&frames);
        assert_eq!(lines.iter().map(|(_, line)| line.len()).collect::<Vec<_>>(), [MAX_LINE, 11]);
    }

    #[test]
    fn text_without_a_timestamp_is_kept_whole() {
        assert_eq!(read(&[(false, "no time here\n".into())]), [(false, "no time here".into())]);
        assert_eq!(read(&[(false, String::new())]), []);
    }

    #[test]
    fn the_engines_own_words_end_the_log() {
        let mut lines = Lines::new(Source::for_tests("task1"));
        assert!(!lines.push(LogOutput::Console { message: Bytes::from_static(b"\x03error") }, &mut VecDeque::new()));
    }
}
