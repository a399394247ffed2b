//! `skyctl schemas`: writes the JSON Schemas that are kept under `docs/schema/`. Hidden: it is for whoever
//! builds Skyswarm.

use std::fs;
use std::path::PathBuf;

use api_types::{Kind, schema};

use crate::errors::{CliError, Result};
use crate::output;

/// Arguments of `schemas`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Runs the verb.
///
/// # Errors
/// When a file cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let failed = |error| CliError::io(format!("the schemas cannot be written to {}", args.out.display()), error);
    fs::create_dir_all(&args.out).map_err(failed)?;
    for kind in Kind::ALL {
        fs::write(args.out.join(schema::file_name(kind)), schema::file_text(kind)).map_err(failed)?;
    }
    output::line(&format!("{} schemas written to {}", Kind::ALL.len(), args.out.display()))
}
