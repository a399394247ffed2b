//! Measurements on the real parts: `./dev bench`.
//!
//! Everything runs on an engine, a server and a proxy of its own, in namespaces of its own. What is compared is measured in
//! pairs, one after the other in one run, because machines differ and other work comes and goes.

mod bulk;
mod deploy;
mod figure;
mod idle;
mod latency;
mod process;

use std::time::Duration;

use anyhow::Result;

pub use figure::{Figure, Limit, table};

use crate::dockerd::Dockerd;
use crate::platform::Platform;
use crate::tap::Tap;

/// Pool with room for more networks than apps; see [`Dockerd::start_with_pool`].
const POOL: &str = "10.192.0.0/12";

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Pairs of one deploy and one bare service.
    pub pairs: usize,
    /// Commits whose first engine write is awaited.
    pub commits: usize,
    /// Edits by hand.
    pub edits: usize,
    /// Times that all apps are applied at once, and removed again.
    pub bulks: usize,
    /// Apps that are applied at once, and that the server keeps while it idles.
    pub apps: usize,
    /// How many of these have a replica; the others have none.
    pub running: usize,
    /// Times of idling, one after the other.
    pub windows: usize,
    /// Length of each; a resync happens every 30 s.
    pub window: Duration,
}

impl Extent {
    /// What the figures in the documentation were measured with.
    pub fn full() -> Self {
        Self { pairs: 7, commits: 20, edits: 15, bulks: 5, apps: 300, running: 60, windows: 3, window: Duration::from_secs(30) }
    }

    /// For a first impression.
    pub fn quick() -> Self {
        Self { pairs: 5, commits: 8, edits: 5, bulks: 2, apps: 100, running: 10, windows: 1, window: Duration::from_secs(30) }
    }

    /// Just enough to see that every figure comes out.
    pub fn shortest() -> Self {
        Self { pairs: 1, commits: 2, edits: 1, bulks: 1, apps: 3, running: 1, windows: 1, window: Duration::from_secs(2) }
    }
}

/// One platform whose server talks to its engine through a tap.
struct Bench {
    platform: Platform,
    tap: Tap,
}

impl Bench {
    async fn start() -> Result<Self> {
        let dockerd = Dockerd::start_with_pool(POOL).await?;
        let tap = Tap::start(dockerd.beside("tap.sock"), &dockerd.beside("docker.sock"))?;
        let platform = Platform::start_on(dockerd, &tap.host()).await?;
        Ok(Self { platform, tap })
    }
}

/// Measures only what idling costs, with a resync every 5 s.
///
/// # Errors
/// When a part does not start, or when anything is written to the engine while there is nothing to do.
pub async fn run_idle(extent: &Extent) -> Result<Vec<Figure>> {
    let bench = Bench::start().await?;
    bench.platform.put_setting("controller.resync_interval", "5s".into()).await?;
    idle::fill(&bench, extent).await?;
    // Time for the resync that looks at each app once more, and for the next, which may pass over it.
    tokio::time::sleep(Duration::from_secs(6)).await;
    idle::measure(&bench, extent).await
}

/// Measures everything.
///
/// # Errors
/// When a part does not start, or does not do what is measured.
pub async fn run(extent: &Extent, mut tell: impl FnMut(&str)) -> Result<Vec<Figure>> {
    let bench = Bench::start().await?;
    tell("deploy and bare service, in pairs");
    let mut figures = deploy::measure(&bench, extent).await?;
    tell("commit to first engine write");
    figures.push(latency::commit_to_write(&bench, extent).await?);
    tell("edit by hand to put right");
    figures.push(latency::drift(&bench, extent, "drift_ms").await?);
    tell("many apps at once, in rounds");
    figures.extend(bulk::measure(&bench, extent).await?);
    tell("apps for idling");
    idle::fill(&bench, extent).await?;
    tell("idling");
    figures.extend(idle::measure(&bench, extent).await?);
    tell("edit by hand to put right, among all apps");
    figures.push(latency::drift(&bench, extent, "drift_among_all_ms").await?);
    figures.sort_by_key(|figure| figure.limit.is_none());
    Ok(figures)
}

/// A manifest of an app that answers at `<name>-default.apps.localhost`.
fn manifest(name: &str, replicas: u32, round: usize) -> String {
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  image: {}\n  env: {{ROUND: \"{round}\"}}\n  \
         processes:\n    web: {{port: 8080, replicas: {replicas}, health: {{path: /healthz}}}}\n  rollout: {{healthWindow: 1s}}\n",
        crate::platform::IMAGE
    )
}
