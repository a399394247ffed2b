//! `./dev bench`: measures, prints a table, and writes the figures as JSON.
//!
//! It runs through `tests/lab-run`, like the tests on real parts. `--quick` measures less; `SKYSWARM_BENCH_DIR` says where
//! the file goes.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::time::Instant;

use anyhow::{Context, Result, bail};
use lab::bench::{Extent, run, table};
use lab::platform::from_env;

#[tokio::main]
async fn main() -> Result<()> {
    let mut extent = Extent::full();
    for argument in std::env::args().skip(1) {
        match (argument.as_str(), argument.split_once('=')) {
            ("--quick", _) => extent = Extent::quick(),
            (_, Some(("--apps", value))) => extent.apps = value.parse().context("--apps")?,
            (_, Some(("--running", value))) => extent.running = value.parse().context("--running")?,
            (_, Some(("--bulks", value))) => extent.bulks = value.parse().context("--bulks")?,
            (_, Some(("--pairs", value))) => extent.pairs = value.parse().context("--pairs")?,
            (_, Some(("--windows", value))) => extent.windows = value.parse().context("--windows")?,
            _ => bail!("unknown argument {argument}; there are --quick, --apps=N, --running=N, --bulks=N, --pairs=N and --windows=N"),
        }
    }
    let folder = from_env("SKYSWARM_BENCH_DIR")?;
    std::fs::create_dir_all(&folder)?;
    let begun = Instant::now();
    let figures = run(&extent, |what| println!("{:>6.1} s  {what}", begun.elapsed().as_secs_f64())).await?;
    println!("{:>6.1} s  done\n\n{}", begun.elapsed().as_secs_f64(), table(&figures));
    std::fs::write(folder.join("figures.json"), serde_json::to_string_pretty(&figures)? + "\n")?;
    Ok(())
}
