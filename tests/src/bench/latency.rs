//! How soon the controller acts: on a commit, and on an edit by hand.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::UpdateServiceOptions;
use chrono::{DateTime, Utc};

use super::{Bench, Extent, Figure, manifest};

const PATIENCE: Duration = Duration::from_secs(30);

/// From a commit to the first write that the engine gets.
///
/// The commit is taken to be when the revision's row was made, inside its transaction: a little before the commit. The
/// write is when its first byte passed the tap. Every other commit makes a new app, the others a new generation.
pub(super) async fn commit_to_write(bench: &Bench, extent: &Extent) -> Result<Figure> {
    let mut samples = Vec::new();
    for round in 0..=extent.commits {
        let name = format!("commit-{}", round / 2);
        let known = bench.tap.writes().len();
        bench.platform.put_app(&manifest(&name, 0, round)).await?;
        let write = bench.tap.next_write(known, PATIENCE).await?;
        samples.push((name.clone(), round % 2 + 1, write.at));
        bench.platform.until_done(&name).await?;
    }
    let sql = "SELECT a.name, r.generation, extract(epoch FROM r.created_at)::text FROM revisions r JOIN apps a ON a.uid = r.app_uid";
    let committed: HashMap<(String, usize), f64> = bench
        .platform
        .sql(sql)
        .await?
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('|');
            let key = (fields.next()?.to_owned(), fields.next()?.parse().ok()?);
            Some((key, fields.next()?.parse().ok()?))
        })
        .collect();
    let took = |(name, generation, at): &(String, usize, DateTime<Utc>)| {
        let committed = committed.get(&(name.clone(), *generation)).context("a revision without a row")?;
        let micros = at.timestamp_subsec_micros();
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a float's 53 bits with microseconds")]
        Ok((at.timestamp() as f64 + f64::from(micros) / 1e6 - committed) * 1e3)
    };
    // The first is paid for by what is cold.
    let values = samples.iter().skip(1).map(took).collect::<Result<Vec<f64>>>()?;
    Ok(Figure::of("commit_to_write_ms", "ms", &values).at_most(20.0))
}

/// From before a service is scaled by hand until it has the right scale again.
pub(super) async fn drift(bench: &Bench, extent: &Extent, name: &'static str) -> Result<Figure> {
    let app = "edited";
    bench.platform.put_app(&manifest(app, 1, 0)).await?;
    bench.platform.until_ready(app).await?;
    bench.platform.until_done(app).await?;
    let service = bench.platform.dockerd.service_names().await?;
    let service = service.into_iter().find(|service| service.starts_with("edited-")).context("no service of the app")?;
    let mut values = Vec::new();
    for _ in 0..=extent.edits {
        values.push(edit(bench, &service).await?);
        bench.platform.until_done(app).await?;
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let deleted = bench.platform.skyctl(&["delete", "app", app, "--wait"]).await?;
    ensure!(deleted.code == 0, "{deleted:?}");
    let figure = Figure::of(name, "ms", values.get(1..).unwrap_or_default());
    Ok(if name == "drift_ms" { figure.at_most(300.0) } else { figure })
}

async fn edit(bench: &Bench, service: &str) -> Result<f64> {
    let docker = bench.platform.dockerd.docker()?;
    let current = docker.inspect_service(service, None).await?;
    let version = current.version.and_then(|version| version.index).context("a service without a version")?;
    let mut spec = current.spec.context("a service without a spec")?;
    let scale = spec.mode.as_mut().and_then(|mode| mode.replicated.as_mut()).context("no replicated service")?;
    ensure!(scale.replicas == Some(1), "the service has {:?} replicas before the edit", scale.replicas);
    scale.replicas = Some(2);
    let begun = Instant::now();
    let options = UpdateServiceOptions { version: i32::try_from(version)?, ..Default::default() };
    docker.update_service(service, spec, options, None).await?;
    loop {
        let now = docker.inspect_service(service, None).await?;
        let replicas = now.spec.and_then(|spec| spec.mode).and_then(|mode| mode.replicated).and_then(|scale| scale.replicas);
        if replicas == Some(1) {
            return Ok(begun.elapsed().as_secs_f64() * 1e3);
        }
        ensure!(begun.elapsed() < PATIENCE, "the edit was not put right:\n{}", bench.platform.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
