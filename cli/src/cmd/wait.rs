//! `skyctl wait`

use std::str::FromStr;
use std::time::Duration;

use api_types::condition::find;
use api_types::problem::ProblemKind;
use api_types::{ConditionStatus, ConditionType, HumanDuration, Kind, OrgName, check};
use tokio::time::Instant;

use super::Session;
use crate::client::{Client, routes};
use crate::errors::{CliError, Result};
use crate::output::{self, progress};
use crate::resource;
use crate::watch::{self, Outcome, Pauses, Wanted};

const EXAMPLES: &str = "\
Examples:
  skyctl wait app/shop --for Ready
  skyctl wait app/shop --for Ready=False --timeout 60s
  skyctl wait app/shop --for delete

Waiting for Ready ends at once with exit code 1 when the generation has failed.";

/// Arguments of `wait`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// App
    #[arg(value_name = "app/NAME")]
    pub name: String,
    /// A condition, with =True, =False or =Unknown if it is not True that is waited for; or "delete"
    #[arg(long = "for", value_name = "CONDITION", default_value = "Ready")]
    pub goal: Goal,
    /// Longest time to wait
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub timeout: HumanDuration,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// A condition has a status.
    Condition(ConditionType, ConditionStatus),
    /// The object is gone.
    Deleted,
}

impl FromStr for Goal {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text.eq_ignore_ascii_case("delete") {
            return Ok(Self::Deleted);
        }
        let (kind, status) = text.split_once('=').unwrap_or((text, "True"));
        let kind = ConditionType::ALL.into_iter().find(|known| known.to_string().eq_ignore_ascii_case(kind)).ok_or_else(|| {
            let known: Vec<String> = ConditionType::ALL.iter().map(ToString::to_string).collect();
            let near = check::closest(kind, known.iter().map(String::as_str));
            let hint =
                near.map_or_else(|| format!("known are {} and delete", known.join(", ")), |near| format!("did you mean \"{near}\"?"));
            format!("there is no condition \"{kind}\"; {hint}")
        })?;
        let all = [ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown];
        let status = all.into_iter().find(|known| known.to_string().eq_ignore_ascii_case(status));
        status.map(|status| Self::Condition(kind, status)).ok_or_else(|| "a status is True, False or Unknown".to_owned())
    }
}

/// Runs the verb.
///
/// # Errors
/// See [`CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let name = resource::app(&args.name)?;
    let org = session.org().await?;
    let timeout = args.timeout.get();
    match args.goal {
        Goal::Deleted => until_gone(&session.client, Kind::App, &org, &name, timeout).await,
        Goal::Condition(kind, status) => {
            let app = match watch::app(&session.client, &org, &name).await {
                Ok(app) => app,
                Err(error) => return Err(session.with_similar(error, Kind::App, &org, &name).await),
            };
            let generation = app.metadata.generation.unwrap_or(0);
            if (kind, status) == (ConditionType::Ready, ConditionStatus::True) {
                if watch::outcome(&app, generation) != Outcome::Ready {
                    watch::until_ready(&session.client, vec![Wanted { org, name: name.clone(), generation }], timeout).await?;
                }
            } else {
                until_condition(&session.client, &org, &name, (kind, status), timeout).await?;
            }
            output::line(&format!("app/{name}: {kind}={status}"))
        }
    }
}

async fn until_condition(
    client: &Client,
    org: &OrgName,
    name: &str,
    (kind, wanted): (ConditionType, ConditionStatus),
    timeout: Duration,
) -> Result<()> {
    let deadline = Instant::now() + timeout;
    let mut pauses = Pauses::default();
    loop {
        let seen = match watch::app(client, org, name).await {
            Ok(app) => {
                let status = app.status.as_ref();
                let current = status.is_some_and(|status| status.observed_generation >= app.metadata.generation.unwrap_or(0));
                let found = status.and_then(|status| find(&status.conditions, kind)).filter(|_| current);
                if found.is_some_and(|condition| condition.status == wanted) {
                    return Ok(());
                }
                progress::summary(&app)
            }
            Err(error) if error.is_transient() => error.to_string(),
            Err(error) => return Err(error),
        };
        if Instant::now() >= deadline {
            return Err(CliError::Timeout(format!("{kind} was not {wanted} within {}\n  {seen}", progress::elapsed(timeout))));
        }
        pauses.next(deadline).await;
    }
}

/// Waits until reading an object answers "not found".
///
/// # Errors
/// [`CliError::Timeout`], and whatever stands in the way.
pub async fn until_gone(client: &Client, kind: Kind, org: &OrgName, name: &str, timeout: Duration) -> Result<()> {
    let deadline = Instant::now() + timeout;
    let mut pauses = Pauses::default();
    let label = format!("{}/{name}", kind.as_str().to_lowercase());
    loop {
        let seen = match client.get::<serde_json::Value>(&routes::object(kind, org, name), &[]).await {
            Ok(value) => serde_json::from_value(value).map(|app| progress::summary(&app)).unwrap_or_default(),
            Err(error) if error.problem_kind() == Some(ProblemKind::NotFound) => return output::line(&format!("{label} is gone")),
            Err(error) if error.is_transient() => error.to_string(),
            Err(error) => return Err(error),
        };
        if Instant::now() >= deadline {
            return Err(CliError::Timeout(format!("{label} is still there after {}\n  {seen}", progress::elapsed(timeout))));
        }
        pauses.next(deadline).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_conditions_with_a_status_or_delete() {
        assert_eq!("Ready".parse(), Ok(Goal::Condition(ConditionType::Ready, ConditionStatus::True)));
        assert_eq!("routed=false".parse(), Ok(Goal::Condition(ConditionType::Routed, ConditionStatus::False)));
        assert_eq!("delete".parse(), Ok(Goal::Deleted));
        assert_eq!("Redy".parse::<Goal>(), Err("there is no condition \"Redy\"; did you mean \"Ready\"?".to_owned()));
        assert!("Ready=maybe".parse::<Goal>().is_err());
    }
}
