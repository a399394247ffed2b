//! What every role has: the database, opened and migrated, the current settings, clock and metrics; and
//! what the very first start makes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use api_types::api::Role;
use api_types::{Manifest, ObjectMeta, Organization, OrganizationSpec};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::datadir::DataDir;
use crate::clock::{SharedClock, SharedEntropy, SystemClock, SystemEntropy};
use crate::effects::Effects;
use crate::settings::Settings;
use crate::store::metrics::PoolCounts;
use crate::store::{NewToken, Store, StoreError, WriteContext};
use crate::telemetry::MetricsRegistry;

/// How long a database that does not answer is waited for: it may be starting beside us.
const DATABASE_LIMIT: Duration = Duration::from_secs(30);
const DATABASE_PAUSE: Duration = Duration::from_millis(500);
/// Organisation of who does not think about organisations.
const FIRST_ORG: &str = "default";

/// What every role has.
pub(super) struct Core {
    /// This process among all that ever ran, a restarted one being another. It holds leases and heartbeats.
    pub(super) id: String,
    /// Where it runs, as a part of `id`: see [`DataDir::place`].
    pub(super) place: String,
    /// Whether other processes have an edge.
    pub(super) other_edges: Arc<AtomicBool>,
    /// Name of this machine.
    pub(super) host: String,
    /// Where the database is, for the keeper of the edge.
    pub(super) database_url: SecretString,
    pub(super) store: Store,
    pub(super) clock: SharedClock,
    pub(super) entropy: SharedEntropy,
    pub(super) metrics: MetricsRegistry,
    /// What the controller's acts pass through.
    pub(super) effects: Effects,
    settings: watch::Sender<Arc<Settings>>,
}

impl Core {
    /// Connects, migrates, opens the keys and reads the settings.
    pub(super) async fn open(url: &SecretString, key_file: &Path, place: String) -> anyhow::Result<Self> {
        let (clock, entropy): (SharedClock, SharedEntropy) = (SystemClock::shared(), Arc::new(SystemEntropy));
        let store = connect(url, &clock, &entropy).await.context("the database cannot be used")?;
        store.migrate().await.context("the database cannot be used")?;
        store.open_keyring(key_file).await.context("secrets cannot be used")?;
        let settings = store.settings_snapshot().await.context("settings cannot be read")?;
        let (settings, _) = watch::channel(Arc::new(settings));
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        let id = format!("{host}-{}-{place}-{}", std::process::id(), entropy.uuid(clock.now()).simple());
        let metrics = MetricsRegistry::new();
        metrics.register(|registry| registry.register_collector(Box::new(PoolCounts(store.clone()))));
        let other_edges = Arc::default();
        Ok(Self { id, place, other_edges, host, database_url: url.clone(), store, clock, entropy, metrics, settings, effects: effects()? })
    }

    /// The settings, as they are now and change.
    pub(super) fn settings(&self) -> watch::Receiver<Arc<Settings>> {
        self.settings.subscribe()
    }

    /// Where new settings are put.
    pub(super) fn settings_sender(&self) -> watch::Sender<Arc<Settings>> {
        self.settings.clone()
    }

    /// Makes the first organisation and the administrator's token, when there is none.
    pub(super) async fn bootstrap(&self, data: &DataDir) -> anyhow::Result<()> {
        if self.store.org_list().await?.is_empty() {
            let organization = Organization::new(ObjectMeta::named(FIRST_ORG), OrganizationSpec::default());
            let cx = WriteContext {
                author: "skyswarm".to_owned(),
                source: "first start".to_owned(),
                client: String::new(),
                dry_run: false,
                adoptions: Vec::new(),
            };
            self.store.apply(&[Manifest::Organization(organization)], &cx).await.context("the first organization cannot be made")?;
        }
        let known = match tokio::fs::read_to_string(data.token_file()).await {
            Ok(token) => self.store.token_find(token.trim()).await?.valid().is_some(),
            Err(_) => false,
        };
        if !known {
            let (_, token) = self.store.token_create(&NewToken::new("admin", None, Role::Admin)).await?;
            data.write_token(&token)?;
            info!(file = %data.token_file().display(), "made a token for the administrator");
        }
        Ok(())
    }
}

/// Faults for tests of the whole server: only builds with debug assertions can have any.
#[cfg(debug_assertions)]
fn effects() -> anyhow::Result<Effects> {
    crate::effects::env::from_env()
}

#[cfg(not(debug_assertions))]
#[expect(clippy::unnecessary_wraps, reason = "as the other one")]
fn effects() -> anyhow::Result<Effects> {
    Ok(Effects::none())
}

async fn connect(url: &SecretString, clock: &SharedClock, entropy: &SharedEntropy) -> Result<Store, StoreError> {
    let begun = Instant::now();
    loop {
        match Store::connect(url.expose_secret(), clock.clone(), entropy.clone()).await {
            Err(error @ StoreError::Unavailable(_)) if begun.elapsed() < DATABASE_LIMIT => {
                warn!(error = &error as &dyn std::error::Error, "waiting for the database");
                tokio::time::sleep(DATABASE_PAUSE).await;
            }
            result => return result,
        }
    }
}
