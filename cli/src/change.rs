//! Changes of parts of an app: one merge patch is one new revision, or nothing.
//!
//! The server works the patch out on the app as it is stored at that moment, so changes of different fields by
//! two people at once never lose each other, and nothing has to be repeated here.

use api_types::{App, Kind, OrgName};
use serde_json::Value;

use crate::args::WaitArgs;
use crate::client::routes;
use crate::cmd::{Session, typed};
use crate::errors::Result;
use crate::output::{self, DIM, GREEN, paint};
use crate::watch::{Wanted, until_ready};

/// An app that is to be changed.
pub struct Target {
    /// Organisation.
    pub org: OrgName,
    /// As it was read before.
    pub app: App,
}

impl Target {
    /// Reads the app.
    ///
    /// # Errors
    /// When there is none; names similar ones.
    pub async fn read(session: &Session, word: &str) -> Result<Self> {
        let name = crate::resource::app(word)?;
        let org = session.org().await?;
        let app = typed(&session.object(Kind::App, &org, &name).await?)?;
        Ok(Self { org, app })
    }

    fn name(&self) -> &str {
        &self.app.metadata.name
    }

    /// Sends a merge patch. `source` stands in the app's history.
    ///
    /// # Errors
    /// What the server refuses.
    pub async fn patch(&self, session: &Session, source: &str, patch: &Value) -> Result<App> {
        let path = routes::object(Kind::App, &self.org, self.name());
        session.client.patch(&path, &[("source", source.to_owned())], patch).await
    }

    /// Says what came of a change, and waits for it when asked to.
    ///
    /// # Errors
    /// When the generation fails.
    pub async fn report(&self, session: &Session, changed: &App, done: &str, wait: &WaitArgs) -> Result<()> {
        let generation = changed.metadata.generation.unwrap_or(0);
        let label = format!("app/{}", self.name());
        if Some(generation) == self.app.metadata.generation {
            output::line(&format!("{label} {}", paint(DIM, "unchanged")))?;
        } else {
            output::line(&format!("{label} {} (generation {generation})", paint(GREEN, done)))?;
        }
        if wait.wait {
            let wanted = Wanted { org: self.org.clone(), name: self.name().to_owned(), generation };
            until_ready(&session.client, vec![wanted], wait.timeout.get()).await?;
        }
        Ok(())
    }
}
