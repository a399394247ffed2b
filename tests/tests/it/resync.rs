//! What a resync costs when nothing has to be done: no write to the engine, and few reads, however many apps there are.

use std::time::Duration;

use anyhow::{Context, Result};
use lab::bench::{Extent, run_idle};

/// Calls to the engine that looking at one app by itself takes, at the least.
const CALLS_OF_A_RUN: f64 = 4.0;
/// Seconds between two resyncs.
const INTERVAL: f64 = 5.0;

async fn apps_at_rest_cost_little(apps: u16) -> Result<()> {
    let extent = Extent { apps: usize::from(apps), running: 0, windows: 1, window: Duration::from_secs(10), ..Extent::shortest() };
    // It fails when anything was written, or a service has another version afterwards.
    let figures = run_idle(&extent).await?;
    let reads = figures.iter().find(|figure| figure.name == "idle_engine_reads").context("no count of reads")?.median;
    let of_runs = f64::from(apps) * CALLS_OF_A_RUN / INTERVAL;
    println!("{reads} reads a second; a run of every app at every resync would take {of_runs}");
    assert!(reads > 0.0, "nobody looks any more");
    assert!(reads < of_runs / 8.0, "{reads} reads a second for {apps} apps at rest");
    Ok(())
}

#[tokio::test]
async fn a_resync_passes_over_apps_at_rest_and_writes_nothing() -> Result<()> {
    apps_at_rest_cost_little(40).await
}

#[tokio::test]
#[ignore = "takes minutes: it makes 300 apps"]
async fn three_hundred_apps_at_rest_are_left_alone() -> Result<()> {
    apps_at_rest_cost_little(300).await
}
