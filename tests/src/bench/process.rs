//! What the kernel counts of a process.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// Clock ticks of `/proc/…/stat` per second, on every Linux that this runs on.
const TICKS: f64 = 100.0;

/// CPU seconds of the server and of what runs beside it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cpu {
    /// The server alone.
    pub(super) server: f64,
    /// Its proxy.
    pub(super) proxy: f64,
    /// Its database, every process of it.
    pub(super) database: f64,
    /// The engine, whose work is caused by the server's questions too.
    pub(super) engine: f64,
}

struct Stat {
    name: String,
    parent: u32,
    own: f64,
    with_children: f64,
}

/// Reads what was used so far.
pub(super) fn cpu(server: u32, engine: u32) -> Result<Cpu> {
    let all = all();
    let used = |pid: u32| all.get(&pid).map(|stat| stat.own);
    let mut found =
        Cpu { server: used(server).context("the server is gone")?, engine: used(engine).context("the engine is gone")?, ..Cpu::default() };
    for stat in all.values() {
        let parent_name = all.get(&stat.parent).map(|parent| parent.name.as_str());
        match stat.name.as_str() {
            // The keeper of the proxy is started as /proc/self/exe, and the kernel names it after that.
            "exe" if stat.parent == server => found.server += stat.own,
            "traefik" if parent_name == Some("exe") => found.proxy += stat.own,
            // The first process of the database has counted those that ended.
            "postgres" if parent_name == Some("postgres") => found.database += stat.own,
            "postgres" => found.database += stat.with_children,
            _ => {}
        }
    }
    Ok(found)
}

/// Resident memory in MB (10⁶ bytes).
pub(super) fn resident_mb(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0 / 1e6)
}

fn all() -> BTreeMap<u32, Stat> {
    let Ok(folders) = std::fs::read_dir("/proc") else { return BTreeMap::new() };
    let pids = folders.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))).collect()
}

/// A name may hold spaces and parentheses; what follows the last one does not.
fn stat(text: &str) -> Option<Stat> {
    let (head, rest) = text.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default() / TICKS;
    let own = ticks(11) + ticks(12);
    Some(Stat { name, parent: fields.get(1)?.parse().ok()?, own, with_children: own + ticks(13) + ticks(14) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_behind_its_last_parenthesis() {
        let line = "42 (odd) name) S 7 42 42 0 -1 0 0 0 0 0 150 50 30 20 20 0 1 0 100 0 0";
        let found = stat(line).map(|stat| (stat.name, stat.parent, stat.own, stat.with_children));
        assert_eq!(found, Some(("odd) name".to_owned(), 7, 2.0, 2.5)));
        assert!(cpu(std::process::id(), std::process::id()).is_ok_and(|cpu| cpu.server >= 0.0));
        assert!(resident_mb(std::process::id()).is_ok_and(|mb| mb > 0.5));
    }
}
