//! Requests at a fixed rate through the edge, each on a connection of its own, until told to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinHandle;

/// Longest time that a load runs; a test that forgets it ends all the same.
const LONGEST: Duration = Duration::from_secs(180);

/// Failures that are told in full.
const TOLD: usize = 10;

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    failures: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// A running load.
pub struct Load {
    counts: Arc<Counts>,
    task: JoinHandle<Result<()>>,
}

impl Load {
    /// Starts `rate` requests a second for `host`.
    pub fn start(host: &str, rate: u32) -> Self {
        Self::start_at("127.0.0.1:8080", host, rate)
    }

    /// The same through another edge.
    pub fn start_at(edge: &str, host: &str, rate: u32) -> Self {
        let counts = Arc::<Counts>::default();
        let task = tokio::spawn(run(format!("http://{edge}/"), host.to_owned(), rate, counts.clone()));
        Self { counts, task }
    }

    /// Stops it and returns how many requests were sent; fails when one of them failed or there were fewer than `least`.
    ///
    /// # Errors
    /// See above; the error says how the first ones failed.
    pub async fn stop(self, least: u64) -> Result<u64> {
        self.counts.stop.store(true, Ordering::Relaxed);
        self.task.await.context("the load")??;
        let (sent, failed) = (self.counts.sent.load(Ordering::Relaxed), self.counts.failed.load(Ordering::Relaxed));
        ensure!(sent >= least, "the load was too small to say anything: {sent}");
        let failures = self.counts.failures.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
        ensure!(failed == 0, "{failed} of {sent} requests failed, the first ones with:\n{failures}");
        Ok(sent)
    }
}

async fn run(url: String, host: String, rate: u32, counts: Arc<Counts>) -> Result<()> {
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(Duration::from_secs(5)).build()?;
    let end = Instant::now() + LONGEST;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut requests = tokio::task::JoinSet::new();
    while !counts.stop.load(Ordering::Relaxed) && Instant::now() < end {
        ticks.tick().await;
        let (client, counts, host, url) = (client.clone(), counts.clone(), host.clone(), url.clone());
        requests.spawn(async move {
            counts.sent.fetch_add(1, Ordering::Relaxed);
            let answer = client.get(url).header(reqwest::header::HOST, host).send().await;
            let text = match answer {
                Ok(answer) if answer.status() == 200 => return,
                Ok(answer) => format!("status {}", answer.status()),
                Err(error) => format!("{error:?}"),
            };
            counts.failed.fetch_add(1, Ordering::Relaxed);
            let mut failures = counts.failures.lock().unwrap_or_else(PoisonError::into_inner);
            if failures.len() < TOLD {
                failures.push(text);
            }
        });
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
    Ok(())
}
