//! The command line of the server. Only what is needed to start and to reach the database stands here;
//! everything else is a setting in the database, changed while the server runs.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use secrecy::SecretString;

use crate::telemetry::LogFormat;

const EXAMPLES: &str = "\
Examples:
  Everything on this machine, as root, with a database of its own:
    skyswarm up --init-swarm --edge-http 0.0.0.0:80

  Beside an engine and a database that you run:
    skyswarm up --docker-host unix:///run/docker.sock --database-url postgres://sky@db/sky

  The roles apart: the API never holds the engine's socket:
    skyswarm api --database-url postgres://sky@db/sky --listen 10.0.0.5:7070
    skyswarm controller --database-url postgres://sky@db/sky --edge-http 0.0.0.0:80

  A second controller, on another manager of the Swarm: it stands by, and takes over within seconds. It needs the
  first one's key file (<data-dir>/key), or reads the same one:
    skyswarm controller --database-url postgres://sky@db/sky --key-file /etc/skyswarm/key --edge-http 0.0.0.0:80

  A token for a person of one organisation:
    skyswarm token create --name ana --org acme --role member --expires 90d

The first start writes an administrator's token to DATA_DIR/admin-token.
Everything else is a setting: skyctl settings";

/// A reconciler for apps on Docker Swarm: API, controller and edge.
#[derive(Debug, Parser)]
#[command(name = "skyswarm", version, about, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Form of the log on standard error. What is logged is in the variable SKYSWARM_LOG, such as `info,skyswarm::edge=debug`.
    #[arg(long, env = "SKYSWARM_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, global = true)]
    pub log_format: LogFormat,
}

/// Roles, and tools for who runs the server.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs everything on this machine: database (when none is given), API, controller and edge.
    Up(UpArgs),
    /// Runs the API alone. It needs the database, and never the engine.
    Api(ApiRoleArgs),
    /// Runs the controller and the edge alone. Several may run; one leads.
    Controller(ControllerRoleArgs),
    /// Makes tokens without the API.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Runs the proxy for a server, which starts it.
    #[command(hide = true)]
    EdgeKeeper(KeeperArgs),
    /// Prints the version.
    Version,
    /// Prints the OpenAPI document.
    #[command(hide = true)]
    Openapi,
    /// Prints the reference of all settings.
    #[command(hide = true)]
    SettingsReference,
}

/// Arguments of `skyswarm up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Where data are kept.
    #[command(flatten)]
    pub data: DataArgs,
    /// Where the API listens.
    #[command(flatten)]
    pub api: ListenArgs,
    /// Which engine is driven.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// The proxy.
    #[command(flatten)]
    pub edge: EdgeArgs,
}

/// Arguments of `skyswarm api`.
#[derive(Debug, Args)]
pub struct ApiRoleArgs {
    /// Where data are kept.
    #[command(flatten)]
    pub data: DataArgs,
    /// Where the API listens.
    #[command(flatten)]
    pub api: ListenArgs,
}

/// Arguments of `skyswarm controller`.
#[derive(Debug, Args)]
pub struct ControllerRoleArgs {
    /// Where data are kept.
    #[command(flatten)]
    pub data: DataArgs,
    /// Where `/healthz`, `/readyz` and `/metrics` are answered; port 0 takes a free one. Nothing of users is told there.
    #[arg(long, env = "SKYSWARM_HEALTH_LISTEN", value_name = "ADDR:PORT", default_value = "127.0.0.1:7071")]
    pub health_listen: SocketAddr,
    /// Which engine is driven.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// The proxy.
    #[command(flatten)]
    pub edge: EdgeArgs,
}

/// Where data are kept.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// Folder for the key file, the administrator's token, the edge's last document, and the private
    /// database.
    #[arg(long, env = "SKYSWARM_DATA_DIR", value_name = "DIR", default_value = "/var/lib/skyswarm")]
    pub data_dir: PathBuf,

    /// Database to use. Without it `skyswarm up` starts a private PostgreSQL below the data folder.
    #[arg(long, env = "SKYSWARM_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<SecretString>,

    /// File of the key that secrets are encrypted with; DATA_DIR/key when absent. All processes on one database need the same one.
    #[arg(long, env = "SKYSWARM_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

impl DataArgs {
    /// The key file.
    pub fn key_file(&self) -> PathBuf {
        self.key_file.clone().unwrap_or_else(|| self.data_dir.join("key"))
    }
}

/// Where the API listens.
#[derive(Debug, Args)]
pub struct ListenArgs {
    /// Address of the API. It speaks plain HTTP: let other machines in through a proxy with TLS only.
    #[arg(long, env = "SKYSWARM_LISTEN", value_name = "ADDR:PORT", default_value = "127.0.0.1:7070")]
    pub listen: SocketAddr,
}

/// Which engine is driven.
#[derive(Debug, Args)]
pub struct EngineArgs {
    /// Docker Engine to drive; a Swarm manager.
    #[arg(long, env = "DOCKER_HOST", value_name = "URL", default_value = "unix:///var/run/docker.sock")]
    pub docker_host: String,

    /// Makes a Swarm of this engine when it is in none.
    #[arg(long, env = "SKYSWARM_INIT_SWARM")]
    pub init_swarm: bool,

    /// With --init-swarm: the address that other nodes will reach this one at.
    #[arg(long, env = "SKYSWARM_ADVERTISE_ADDR", value_name = "ADDR", default_value = "127.0.0.1")]
    pub advertise_addr: String,

    /// With --init-swarm: the pool from which networks get their addresses; /24 each.
    #[arg(long, env = "SKYSWARM_ADDRESS_POOL", value_name = "CIDR", default_value = "10.201.0.0/16")]
    pub address_pool: String,
}

/// The proxy.
#[derive(Debug, Args)]
pub struct EdgeArgs {
    /// Where the edge takes HTTP requests for apps. On a server: 0.0.0.0:80.
    #[arg(long, env = "SKYSWARM_EDGE_HTTP", value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    pub edge_http: SocketAddr,

    /// Where the edge takes HTTPS requests for apps; nowhere when absent.
    #[arg(long, env = "SKYSWARM_EDGE_HTTPS", value_name = "ADDR:PORT")]
    pub edge_https: Option<SocketAddr>,

    /// The Traefik program; looked for in PATH when absent.
    #[arg(long, env = "SKYSWARM_TRAEFIK_BIN", value_name = "FILE")]
    pub traefik_bin: Option<PathBuf>,

    /// Where the proxy gets its routes from us. Loopback only; port 0 takes a free one.
    #[arg(long, env = "SKYSWARM_EDGE_PROVIDER_LISTEN", value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    pub edge_provider_listen: SocketAddr,
}

/// Arguments of the edge's keeper; its orders come on standard input.
#[derive(Debug, Args)]
pub struct KeeperArgs {
    /// The edge's folder.
    #[arg(long, value_name = "DIR")]
    pub folder: PathBuf,
}

/// Tools for tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes a token and prints it. It cannot be shown again.
    Create(TokenCreateArgs),
}

/// Arguments of `skyswarm token create`.
#[derive(Debug, Args)]
pub struct TokenCreateArgs {
    /// Where data are kept.
    #[command(flatten)]
    pub data: DataArgs,
    /// Name of the person or program that will have it.
    #[arg(long)]
    pub name: String,
    /// Organisation that it is limited to; a platform token when absent.
    #[arg(long)]
    pub org: Option<api_types::OrgName>,
    /// What it may do.
    #[arg(long, value_enum, default_value_t = RoleArg::Member)]
    pub role: RoleArg,
    /// How long it is good for, such as 12h or 90d; for ever when absent.
    #[arg(long, value_name = "DURATION")]
    pub expires: Option<api_types::Lifetime>,
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Reads.
    Viewer,
    /// Reads and changes apps and domains.
    Member,
    /// Also organisations, tokens and settings.
    Admin,
}

impl From<RoleArg> for api_types::api::Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Viewer => Self::Viewer,
            RoleArg::Member => Self::Member,
            RoleArg::Admin => Self::Admin,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_argument_of_the_roles_has_a_variable_and_a_help() {
        let mut command = Cli::command();
        command.build();
        for role in ["up", "api", "controller"] {
            let role = command.find_subcommand(role).expect("a role");
            for argument in role.get_arguments().filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version")) {
                assert!(argument.get_env().is_some(), "{} {} has no variable", role.get_name(), argument.get_id());
                assert!(argument.get_help().is_some(), "{} {} has no help", role.get_name(), argument.get_id());
            }
        }
    }

    #[test]
    fn the_password_of_the_database_is_not_printed() {
        let cli = Cli::try_parse_from(["skyswarm", "up", "--database-url", "postgres://u:hunter2@db/x"]).expect("valid");
        assert!(!format!("{cli:?}").contains("hunter2"));
    }
}
