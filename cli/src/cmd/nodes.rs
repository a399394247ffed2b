//! `skyctl nodes`: the machines of the Swarm, and tokens for new ones.

use api_types::Kind;
use api_types::api::{JoinTokenInfo, JoinTokenRequest};
use api_types::duration::Lifetime;
use clap::Subcommand;

use super::{Session, get};
use crate::client::routes;
use crate::errors::Result;
use crate::output;
use crate::output::{Format, TextFormat};

const EXAMPLES: &str = "\
Examples:
  skyctl nodes list
  skyctl nodes token
  skyctl drain n2 --wait        see also: activate, describe node";

const LIST_EXAMPLES: &str = "\
Examples:
  skyctl nodes list
  skyctl nodes list -o wide";

const TOKEN_EXAMPLES: &str = "\
Examples:
  skyctl nodes token
  skyctl nodes token --expires 1h -o json

Prints what to run on a node whose engine has joined the Swarm (docker swarm join). The token is good for any number
of nodes until it runs out, and is shown this once. The server takes agents when it runs with --agent-listen.";

/// Arguments of `nodes`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show the machines of the Swarm
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Form of the answer
        #[arg(short, long, value_name = "FORM", default_value = "table")]
        output: Format,
    },
    /// Make a token with which agents of new nodes join
    #[command(after_help = TOKEN_EXAMPLES)]
    Token {
        /// How long it is good for, such as 1h or 7d [default: 24h]
        #[arg(long, value_name = "DURATION")]
        expires: Option<Lifetime>,
        /// Form of the answer
        #[arg(short, long, value_enum, default_value_t = TextFormat::Text)]
        output: TextFormat,
    },
}

/// Runs the verb.
///
/// # Errors
/// See [`crate::errors::CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    match args.what {
        What::List { output } => get::run(session, get::Args::of_kind(Kind::Node, output)).await,
        What::Token { expires, output } => {
            let request = JoinTokenRequest { expires_in: expires };
            let made: JoinTokenInfo = session.client.post(routes::JOIN_TOKENS, &[], &request).await?;
            if let Some(text) = output.render(&made)? {
                return output::print(&text);
            }
            output::line(&format!("skyswarm agent --server {} --token {}", made.server, made.token))
        }
    }
}
