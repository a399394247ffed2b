//! `skyctl rollback` and `skyctl retry`: a new revision with old content.

use api_types::api::{ApplyAction, RetryRequest, RollbackRequest, RollbackResponse};
use api_types::{Kind, OrgName};

use super::Session;
use super::diff::{revision, shown};
use crate::args::WaitArgs;
use crate::client::routes;
use crate::errors::{CliError, Result};
use crate::output::{self, TextFormat};
use crate::resource;
use crate::watch::{Wanted, until_ready};

const ROLLBACK_EXAMPLES: &str = "\
Examples:
  skyctl rollback app/shop --dry-run       what would change, and the steps
  skyctl rollback app/shop --wait          to the last revision before this one that was proven to serve
  skyctl rollback app/shop --to 9          to revision 9; `skyctl history app/shop` shows all

A rollback is a new revision with the old content: the very same image, variables, secret values, domains, scale and
processes, all or nothing. A revision that failed is refused without --force.";

const RETRY_EXAMPLES: &str = "\
Examples:
  skyctl retry app/shop --wait

A revision that failed is not tried again by itself. This makes a new revision with the same content, and looks up
an image again that could not be found.";

/// Arguments of `rollback`.
#[derive(Debug, clap::Args)]
#[command(after_help = ROLLBACK_EXAMPLES)]
pub struct Args {
    /// App
    #[arg(value_name = "app/NAME")]
    pub name: String,
    /// Revision to go back to [default: the last proven one before the current]
    #[arg(long, value_name = "REVISION", value_parser = revision)]
    pub to: Option<i64>,
    /// Also to a revision that failed or was never proven to serve
    #[arg(long)]
    pub force: bool,
    /// Show what would change and the steps; write nothing
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    /// Only when the app has this resourceVersion
    #[arg(long, value_name = "VERSION")]
    pub resource_version: Option<String>,
    /// Form of the output
    #[arg(short = 'o', long = "output", value_enum, default_value_t = TextFormat::Text, conflicts_with = "wait")]
    pub output: TextFormat,
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Arguments of `retry`.
#[derive(Debug, clap::Args)]
#[command(after_help = RETRY_EXAMPLES)]
pub struct RetryArgs {
    /// App
    #[arg(value_name = "app/NAME")]
    pub name: String,
    /// Form of the output
    #[arg(short = 'o', long = "output", value_enum, default_value_t = TextFormat::Text, conflicts_with = "wait")]
    pub output: TextFormat,
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Runs `rollback`.
///
/// # Errors
/// See [`CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let name = resource::app(&args.name)?;
    let org = session.org().await?;
    let request = RollbackRequest { to: args.to, force: args.force, resource_version: args.resource_version };
    let query = if args.dry_run { vec![("dryRun", "true".to_owned())] } else { Vec::new() };
    let done: RollbackResponse = match session.client.post(&routes::app(&org, &name, "rollback"), &query, &request).await {
        Ok(done) => done,
        Err(error) => return Err(refused(session, error, &org, &name).await),
    };
    if let Some(text) = args.output.render(&done)? {
        return output::print(&text);
    }
    output::print(&told(&done))?;
    wait(session, args.wait, org, done).await
}

/// Runs `retry`.
///
/// # Errors
/// See [`CliError`].
pub async fn retry(session: &Session, args: RetryArgs) -> Result<()> {
    let name = resource::app(&args.name)?;
    let org = session.org().await?;
    let done: RollbackResponse = match session.client.post(&routes::app(&org, &name, "retry"), &[], &RetryRequest::default()).await {
        Ok(done) => done,
        Err(error) => return Err(refused(session, error, &org, &name).await),
    };
    if let Some(text) = args.output.render(&done)? {
        return output::print(&text);
    }
    output::line(&format!("app/{name} tries revision {} again, as revision {}", done.based_on, done.generation))?;
    wait(session, args.wait, org, done).await
}

/// "Not found" is about the app, unless the server speaks of a revision.
async fn refused(session: &Session, error: CliError, org: &OrgName, name: &str) -> CliError {
    match &error {
        CliError::Problem(problem) if problem.detail.contains("revision") => error,
        _ => session.with_similar(error, Kind::App, org, name).await,
    }
}

async fn wait(session: &Session, args: WaitArgs, org: OrgName, done: RollbackResponse) -> Result<()> {
    if !args.wait {
        return Ok(());
    }
    let wanted = Wanted { org, name: done.name, generation: done.generation };
    until_ready(&session.client, vec![wanted], args.timeout.get()).await
}

fn told(done: &RollbackResponse) -> String {
    let (name, based_on, generation) = (&done.name, done.based_on, done.generation);
    if done.action == ApplyAction::Unchanged {
        return format!("app/{name} is as in revision {based_on} already; nothing to do\n");
    }
    let mut text = match done.dry_run {
        true => format!("app/{name} would go back to revision {based_on}, as revision {generation} (dry run)\n"),
        false => format!("app/{name} goes back to revision {based_on}, as revision {generation}\n"),
    };
    text.push_str(&shown(&done.changes));
    if done.dry_run {
        text.push_str("Steps:\n");
        text.extend(done.steps.iter().map(|step| format!("  {}\n", step.description)));
    }
    text
}

#[cfg(test)]
mod tests {
    use api_types::api::PlanStep;
    use api_types::diff::Change;

    use super::*;

    #[test]
    fn a_dry_run_says_would_and_shows_the_steps() {
        let change = Change { path: "spec.image".to_owned(), before: Some("a:2".into()), after: Some("a:1".into()) };
        let step = PlanStep { action: "CreateService".to_owned(), description: "create service web".to_owned() };
        let mut done = RollbackResponse {
            name: "shop".to_owned(),
            based_on: 9,
            action: ApplyAction::Configured,
            generation: 12,
            changes: vec![change],
            steps: vec![step],
            dry_run: true,
        };
        let plain = |done: &RollbackResponse| anstream::adapter::strip_str(&told(done)).to_string();
        insta::assert_snapshot!(plain(&done), @r#"
        app/shop would go back to revision 9, as revision 12 (dry run)
          ~ spec.image: "a:2" → "a:1"
        Steps:
          create service web
        "#);
        done.dry_run = false;
        insta::assert_snapshot!(plain(&done), @r#"
        app/shop goes back to revision 9, as revision 12
          ~ spec.image: "a:2" → "a:1"
        "#);
        done.action = ApplyAction::Unchanged;
        assert_eq!(plain(&done), "app/shop is as in revision 9 already; nothing to do\n");
    }
}
