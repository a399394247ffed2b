//! Keeps what shows why a generation failed: the task and its last lines. The engine forgets both as soon as the
//! generation before is restored. A comfort: nothing waits for it longer than a moment, and nothing depends on it.

use std::time::Duration;

use api_types::why::LogExcerpt;
use futures::StreamExt;
use tokio::time::timeout;
use tracing::debug;

use super::records::AppRecords;
use super::witness::Found;
use crate::engines::swarm::{LogQuery, LogRecord, SwarmEngine};
use crate::store::{AppRecord, Revision, StoreError};

/// Longest wait for a log. The old release serves meanwhile.
const LOG_LIMIT: Duration = Duration::from_secs(2);
/// Last lines that are kept.
const LINES: u32 = 20;
/// Shorter values would blacken ordinary words.
const SHORTEST_SECRET: usize = 4;

/// Reads the log of the task that was found, and stores it with the failed revision.
///
/// # Errors
/// When the database does not take it. A log that cannot be read is said to be so.
pub async fn keep(
    engine: &dyn SwarmEngine,
    store: &dyn AppRecords,
    (record, revision): (&AppRecord, &Revision),
    found: Found,
    epoch: i64,
) -> Result<(), StoreError> {
    let Found { mut witness, service } = found;
    let secrets = secrets(store, record, revision).await?;
    let mut excerpt = LogExcerpt { replica: witness.replica(), ..LogExcerpt::default() };
    match timeout(LOG_LIMIT, read(engine, &service, &witness.task)).await {
        Ok(Ok(lines)) if lines.is_empty() => excerpt.missing = Some("the task wrote nothing".to_owned()),
        Ok(Ok(lines)) => excerpt.lines = lines.iter().map(|line| LogExcerpt::cut(&redacted(line, &secrets))).collect(),
        Ok(Err(error)) => excerpt.missing = Some(format!("the log could not be read: {error}")),
        Err(_) => excerpt.missing = Some(format!("the log could not be read within {} s", LOG_LIMIT.as_secs())),
    }
    witness.log = Some(excerpt);
    store.revision_failure_put(record.uid, revision.generation, &witness, epoch).await
}

async fn read(engine: &dyn SwarmEngine, service: &str, task_id: &str) -> Result<Vec<String>, crate::engines::swarm::EngineError> {
    let query = LogQuery { services: vec![service.to_owned()], follow: false, since: None, tail: Some(LINES) };
    let mut records = engine.logs(&query).await?;
    let mut lines = Vec::new();
    while let Some(record) = records.next().await {
        let LogRecord { task_id: from, line, .. } = record?;
        if from == task_id {
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
    }
    Ok(lines.split_off(lines.len().saturating_sub(usize::try_from(LINES).unwrap_or(usize::MAX))))
}

/// Values that must not come into the database in clear, also when the app wrote them itself.
async fn secrets(store: &dyn AppRecords, record: &AppRecord, revision: &Revision) -> Result<Vec<String>, StoreError> {
    let mut values = Vec::new();
    for (key, version) in &revision.secret_versions {
        match store.secret_value(record.uid, &record.org, key, *version).await {
            Ok(value) => values.extend(value.map(|value| value.expose().to_owned()).filter(|value| value.len() >= SHORTEST_SECRET)),
            Err(error @ StoreError::Unavailable(_)) => return Err(error),
            Err(error) => debug!(%error, %key, "a secret cannot be read"),
        }
    }
    // The longest first: one value may be a part of another.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    Ok(values)
}

fn redacted(line: &str, secrets: &[String]) -> String {
    secrets.iter().fold(line.to_owned(), |line, secret| line.replace(secret.as_str(), "***"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_blackened_wherever_they_stand() {
        let secrets = ["hunter2-more".to_owned(), "hunter2".to_owned()];
        assert_eq!(redacted("a=hunter2 b=hunter2-more", &secrets), "a=*** b=***");
    }
}
