//! `skyctl`: the Skyswarm command line. It speaks HTTP to the server and nothing else.

mod args;
mod change;
mod client;
mod clock;
mod cmd;
mod complete;
mod compose;
mod context;
mod errors;
mod input;
mod interrupt;
mod live;
mod manifest;
mod moment;
mod output;
mod program;
mod resource;
mod sort;
mod watch;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // reqwest panics at its first use when no provider is installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    complete::answer_shell();
    let cli = args::Cli::parse();
    if cli.globals.no_color {
        anstream::ColorChoice::Never.write_global();
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::note(&format!("error: the program cannot be started: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    let changes = cli.command.changes();
    let code = runtime.block_on(async {
        tokio::select! {
            result = cmd::run(cli) => match result {
                Ok(()) => 0,
                Err(error) => {
                    let code = error.exit_code();
                    if code != 0 {
                        output::note(&error.report());
                    }
                    code
                }
            },
            () = interrupt::interrupted() => {
                // Who only looked has nothing that could go on.
                output::note(if changes { "\ninterrupted; what was sent to the server goes on there\n" } else { "\n" });
                130
            }
        }
    });
    // A read of the standard input may be pending in a thread of its own.
    runtime.shutdown_background();
    ExitCode::from(code)
}
