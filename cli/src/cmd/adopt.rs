//! `skyctl adopt`: manifests for Swarm services that run already. Writes nothing; applying them with `--adopt` takes the services over.

use api_types::AppName;
use api_types::api::Drafts;

use super::Session;
use super::import::show;
use crate::client::routes;
use crate::errors::{CliError, Result};
use crate::output::TextFormat;

const EXAMPLES: &str = "\
Examples:
  skyctl adopt service/shop_web > app.yaml       a manifest from a running Swarm service, with what it cannot say as comments
  skyctl adopt --stack shop > app.yaml           from all services of a stack; those of one image become one app
  skyctl adopt service/web service/worker --app shop
  skyctl plan -f app.yaml --adopt                then: look at what taking over means
  skyctl apply -f app.yaml --adopt --wait        and take over, without a restart of a task

Needs a token of a platform administrator. Nothing is changed before the apply.";

/// Arguments of `adopt`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Swarm services
    #[arg(value_name = "service/NAME", required_unless_present = "stack")]
    pub services: Vec<String>,
    /// All services of a stack
    #[arg(long, value_name = "NAME")]
    pub stack: Option<String>,
    /// Name of the app, or first part of the names of several [default: the stack's name, else the service's]
    #[arg(long, value_name = "NAME")]
    pub app: Option<AppName>,
    /// Form of the output
    #[arg(short = 'o', long = "output", value_enum, default_value_t = TextFormat::Text)]
    pub output: TextFormat,
}

/// Runs the verb.
///
/// # Errors
/// See [`CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let query = query(&args)?;
    let found: Drafts = session.client.get(routes::DRAFTS, &query).await?;
    show(&found.drafts, &found.notes, "the Swarm's services", args.output)
}

fn query(args: &Args) -> Result<Vec<(&'static str, String)>> {
    let names = args.services.iter().map(|word| service(word)).collect::<Result<Vec<_>>>()?;
    let mut query = Vec::new();
    if !names.is_empty() {
        query.push(("service", names.join(",")));
    }
    query.extend(args.stack.clone().map(|stack| ("stack", stack)));
    query.extend(args.app.as_ref().map(|app| ("app", app.to_string())));
    Ok(query)
}

/// Reads `service/NAME` or `NAME`.
fn service(word: &str) -> Result<&str> {
    let name = match word.split_once('/') {
        None => word,
        Some(("service" | "services" | "svc", name)) => name,
        Some(("stack", name)) => return Err(CliError::Usage(format!("\"{word}\" is a stack; write --stack {name}"))),
        Some(_) => "",
    };
    if name.is_empty() || name.contains([',', '/']) {
        return Err(CliError::Usage(format!("\"{word}\" is not a Swarm service; write service/NAME as `docker service ls` shows it")));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_named_with_or_without_their_kind() {
        let read = |words: &[&str]| {
            let services = words.iter().map(|word| (*word).to_owned()).collect();
            query(&Args { services, stack: None, app: None, output: TextFormat::Text }).map_err(|error| error.to_string())
        };
        assert_eq!(read(&["service/shop_web", "worker"]), Ok(vec![("service", "shop_web,worker".to_owned())]));
        for (wrong, hint) in
            [("stack/shop", "--stack shop"), ("app/shop", "docker service ls"), ("service/", "docker service ls"), ("a,b", "service/NAME")]
        {
            let error = read(&[wrong]).expect_err(wrong);
            assert!(error.contains(hint), "{error}");
        }
    }
}
