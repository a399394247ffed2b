//! The server. Everything is in the library; this starts it and says how it ended.

use std::process::ExitCode;

use clap::Parser;
use secrecy::ExposeSecret;
use skyswarm::boot::args::{Cli, Command, TokenCommand};
use skyswarm::boot::preflight::Missing;
use skyswarm::boot::{agent, keeper, reference, roles};
use skyswarm::{api, telemetry};

/// Exit code when something is missing that the server needs.
const MISSING: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            if error.is::<Missing>() { ExitCode::from(MISSING) } else { ExitCode::FAILURE }
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Version => print(&format!("skyswarm {}", env!("CARGO_PKG_VERSION"))),
        Command::Openapi => print(&serde_json::to_string_pretty(&api::openapi::document())?),
        Command::SettingsReference => print(reference::settings().trim_end()),
        command => {
            telemetry::init(cli.log_format)?;
            // Fails only when there is a provider already.
            let _ = rustls::crypto::ring::default_provider().install_default();
            tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(start(command))
        }
    }
}

async fn start(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(args) => roles::up(args).await,
        Command::Api(args) => roles::api(args).await,
        Command::Controller(args) => roles::controller(args).await,
        Command::Agent(args) => agent::run(args).await,
        Command::EdgeKeeper(args) => keeper::run(args).await,
        Command::Token(TokenCommand::Create(args)) => print(roles::token_create(args).await?.expose_secret()),
        Command::Version | Command::Openapi | Command::SettingsReference => Ok(()),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = anstream::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
