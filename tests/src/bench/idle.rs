//! What the server costs while there is nothing to do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::ListServicesOptions;
use futures::{StreamExt, TryStreamExt, stream};

use super::process::{Cpu, cpu, resident_mb};
use super::{Bench, Extent, Figure, manifest};

/// A container takes a third of a second to start, more on a busy machine.
const PATIENCE: Duration = Duration::from_secs(400);

/// Applies the apps and waits until the controller has nothing left to do.
pub(super) async fn fill(bench: &Bench, extent: &Extent) -> Result<()> {
    let puts = (0..extent.apps).map(|number| {
        let replicas = u32::from(number < extent.running);
        async move { bench.platform.put_app(&manifest(&format!("idle-{number}"), replicas, 0)).await }
    });
    stream::iter(puts).buffer_unordered(4).try_collect::<Vec<()>>().await?;
    at_rest(bench).await
}

/// Waits until nothing is left to do for any app.
pub(super) async fn at_rest(bench: &Bench) -> Result<()> {
    let begun = Instant::now();
    let sql = "SELECT count(*) FROM apps WHERE desired_version > observed_version OR generation > observed_generation \
               OR NOT status @? '$.conditions[*] ? (@.type == \"Progressing\" && @.status == \"False\")'";
    loop {
        let left = bench.platform.sql(sql).await?;
        if left.trim() == "0" {
            break;
        }
        ensure!(begun.elapsed() < PATIENCE, "{} apps do not come to rest:\n{}", left.trim(), bench.platform.log());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // What came last has been looked at once more by then.
    let mut writes = bench.tap.writes().len();
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_secs(8) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = bench.tap.writes().len();
        if now != writes {
            (writes, since) = (now, Instant::now());
        }
        ensure!(begun.elapsed() < PATIENCE, "the engine is written to without end: {:?}", bench.tap.writes().last());
    }
    Ok(())
}

/// Measures CPU and memory over the windows, in which nothing may be written to the engine.
pub(super) async fn measure(bench: &Bench, extent: &Extent) -> Result<Vec<Figure>> {
    let server = bench.platform.server_pid().and_then(|pid| u32::try_from(pid).ok()).context("no server")?;
    let engine = bench.platform.dockerd.pid().context("no engine")?;
    let (services, writes) = (versions(bench).await?, bench.tap.writes().len());
    let (mut shares, mut resident, mut questions) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..extent.windows {
        let (before, reads, begun) = (cpu(server, engine)?, bench.tap.reads(), Instant::now());
        tokio::time::sleep(extent.window).await;
        let (after, seconds) = (cpu(server, engine)?, begun.elapsed().as_secs_f64());
        let share = |of: fn(&Cpu) -> f64| (of(&after) - of(&before)) / seconds * 100.0;
        shares.push([share(|cpu| cpu.server), share(|cpu| cpu.proxy), share(|cpu| cpu.database), share(|cpu| cpu.engine)]);
        resident.push(resident_mb(server)?);
        #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
        questions.push((bench.tap.reads() - reads) as f64 / seconds);
    }
    let written = bench.tap.writes();
    ensure!(written.len() == writes, "written to the engine while idle: {:?}", written.get(writes..));
    ensure!(versions(bench).await? == services, "services changed while idle");
    let column = |index: usize| shares.iter().filter_map(|row| row.get(index).copied()).collect::<Vec<f64>>();
    Ok(vec![
        Figure::of("idle_cpu", "%", &column(0)).at_most(1.0),
        Figure::of("rss_mb", "MB", &resident).at_most(80.0),
        Figure::of("idle_proxy_cpu", "%", &column(1)),
        Figure::of("idle_database_cpu", "%", &column(2)),
        Figure::of("idle_engine_cpu", "%", &column(3)),
        Figure::of("idle_engine_reads", "1/s", &questions),
    ])
}

/// Versions of all services by id.
async fn versions(bench: &Bench) -> Result<BTreeMap<String, u64>> {
    let services = bench.platform.dockerd.docker()?.list_services(None::<ListServicesOptions>).await?;
    let pair = |service: bollard::models::Service| Some((service.id?, service.version?.index?));
    Ok(services.into_iter().filter_map(pair).collect())
}
