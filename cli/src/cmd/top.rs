//! `skyctl top`: processor and memory, from the engine's own measure.

use std::collections::{BTreeMap, BTreeSet};

use anstyle::Style;
use api_types::usage::{TaskUsage, Usage};
use api_types::{App, Kind};

use super::{Session, typed};
use crate::client::routes;
use crate::errors::Result;
use crate::output::{Table, TextFormat};
use crate::{output, resource};

const EXAMPLES: &str = "\
Examples:
  skyctl top                       every app of the organization
  skyctl top app/shop              one app, task by task
  skyctl top --by process --sort-by memory
  skyctl top -o json               for programs

CPU is in thousandths of a core over the last second, memory is without caches that can be taken back. Only tasks on
the node whose engine the server drives are measured; those of other nodes are counted, and shown as -.";

/// Arguments of `top`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// App; without it, all
    #[arg(value_name = "app/NAME")]
    pub name: Option<String>,
    /// What a line is [default: app, or task for one app]
    #[arg(long, value_enum)]
    pub by: Option<By>,
    /// Order of the lines, the largest first [default: by name]
    #[arg(long, value_enum)]
    pub sort_by: Option<Figure>,
    /// Form of the output
    #[arg(short = 'o', long = "output", value_enum, default_value_t = TextFormat::Text)]
    pub output: TextFormat,
}

/// What a line stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// An app
    App,
    /// A process type of an app
    Process,
    /// One task
    Task,
}

/// What lines are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Figure {
    /// Processor time
    Cpu,
    /// Memory
    Memory,
}

/// Runs the verb.
///
/// # Errors
/// See [`crate::errors::CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let org = session.org().await?;
    let mut query = Vec::new();
    if let Some(word) = &args.name {
        let name = resource::app(word)?;
        // First, so that a name that does not exist brings similar ones.
        let _: App = typed(&session.object(Kind::App, &org, &name).await?)?;
        query.push(("app", name));
    }
    let usage: Usage = session.client.get(&routes::usage(&org), &query).await?;
    if let Some(text) = args.output.render(&usage)? {
        return output::print(&text);
    }
    if usage.tasks.is_empty() {
        output::note("no task is running\n");
        return Ok(());
    }
    let by = args.by.unwrap_or(if args.name.is_some() { By::Task } else { By::App });
    output::print(&table(&usage.tasks, by, args.sort_by))?;
    if let Some(note) = unmeasured(&usage) {
        output::note(&note);
    }
    Ok(())
}

/// What a group of tasks uses together.
#[derive(Debug, Default)]
struct Sum<'a> {
    tasks: usize,
    cpu_millis: Option<i64>,
    memory_bytes: Option<i64>,
    nodes: BTreeSet<&'a str>,
}

impl<'a> Sum<'a> {
    fn add(&mut self, task: &'a TaskUsage) {
        let plus = |sum: Option<i64>, part: Option<i64>| part.map(|part| sum.unwrap_or(0) + part).or(sum);
        self.tasks += 1;
        self.cpu_millis = plus(self.cpu_millis, task.cpu_millis);
        self.memory_bytes = plus(self.memory_bytes, task.memory_bytes);
        self.nodes.insert(&task.node);
    }
}

/// Lines of a table.
fn table(tasks: &[TaskUsage], by: By, order: Option<Figure>) -> String {
    let mut sums: BTreeMap<(&str, &str, u64), Sum<'_>> = BTreeMap::new();
    for task in tasks {
        // web.10 comes after web.9.
        let slot = task.replica.rsplit('.').next().and_then(|slot| slot.parse().ok()).unwrap_or(0);
        let key = match by {
            By::App => (task.app.as_str(), "", 0),
            By::Process => (task.app.as_str(), task.process.as_str(), 0),
            By::Task => (task.app.as_str(), task.process.as_str(), slot),
        };
        sums.entry(key).or_default().add(task);
    }
    let mut lines: Vec<_> = sums.into_iter().collect();
    match order {
        Some(Figure::Cpu) => lines.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.cpu_millis)),
        Some(Figure::Memory) => lines.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.memory_bytes)),
        None => {}
    }
    let mut table = Table::new(match by {
        By::App => vec!["APP", "TASKS", "CPU", "MEMORY", "NODES"],
        By::Process => vec!["APP", "PROCESS", "TASKS", "CPU", "MEMORY", "NODES"],
        By::Task => vec!["APP", "TASK", "CPU", "MEMORY", "NODE"],
    });
    for ((app, process, slot), sum) in lines {
        let nodes: Vec<&str> = sum.nodes.iter().copied().collect();
        let figures = [sum.cpu_millis.map(cores), sum.memory_bytes.map(mebibytes), Some(nodes.join(", "))].map(Option::unwrap_or_default);
        let first = match by {
            By::App => vec![app.to_owned(), sum.tasks.to_string()],
            By::Process => vec![app.to_owned(), process.to_owned(), sum.tasks.to_string()],
            By::Task => vec![app.to_owned(), format!("{process}.{slot}")],
        };
        table.row(first.into_iter().chain(figures).map(|text| (text, Style::new())));
    }
    table.render(0)
}

fn cores(millis: i64) -> String {
    format!("{millis}m")
}

fn mebibytes(bytes: i64) -> String {
    const MEBI: i64 = 1 << 20;
    // Rounded up: a task that runs uses some.
    format!("{}Mi", (bytes + MEBI - 1) / MEBI)
}

/// Says which tasks have no figures, and why.
fn unmeasured(usage: &Usage) -> Option<String> {
    let missing: Vec<&TaskUsage> = usage.tasks.iter().filter(|task| task.cpu_millis.is_none() && task.memory_bytes.is_none()).collect();
    let elsewhere: BTreeSet<&str> = missing.iter().map(|task| task.node.as_str()).filter(|node| *node != usage.node).collect();
    let here = missing.iter().filter(|task| task.node == usage.node).count();
    let mut text = String::new();
    if !elsewhere.is_empty() {
        let nodes: Vec<&str> = elsewhere.into_iter().collect();
        let count = missing.len() - here;
        text.push_str(&format!(
            "{count} of {} tasks are not measured: they run on {}, and the server drives the engine of {} only\n",
            usage.tasks.len(),
            nodes.join(", "),
            usage.node
        ));
    }
    if here > 0 {
        text.push_str(&format!("{here} of {} tasks gave no figures: they have just begun or ended\n", usage.tasks.len()));
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> Usage {
        let task = |app: &str, replica: &str, node: &str, figures: Option<(i64, i64)>| TaskUsage {
            app: app.to_owned(),
            process: replica.split('.').next().unwrap_or_default().to_owned(),
            replica: replica.to_owned(),
            node: node.to_owned(),
            cpu_millis: figures.map(|(cpu, _)| cpu),
            memory_bytes: figures.map(|(_, memory)| memory),
        };
        let tasks = vec![
            task("blog", "web.1", "n1", Some((0, 3_000_000))),
            task("shop", "web.10", "n1", Some((250, 64 << 20))),
            task("shop", "web.9", "n2", None),
            task("shop", "worker.1", "n1", Some((1200, 1))),
        ];
        Usage { measured_at: "2026-11-02T00:00:00Z".parse().expect("a time"), node: "n1".to_owned(), tasks }
    }

    #[test]
    fn usage_is_summed_and_what_was_not_measured_is_said() {
        let usage = usage();
        let shown = [
            table(&usage.tasks, By::App, None),
            table(&usage.tasks, By::Process, Some(Figure::Cpu)),
            table(&usage.tasks, By::Task, None),
            unmeasured(&usage).unwrap_or_default(),
        ];
        insta::assert_snapshot!(anstream::adapter::strip_str(&shown.join("\n")).to_string());
        let all_here = Usage { tasks: usage.tasks[..2].to_vec(), ..usage };
        assert_eq!(unmeasured(&all_here), None);
    }
}
