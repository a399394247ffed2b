//! Rules of the source tree: who may import what, and how long a file may be.
//!
//! The arrows are those of `docs/architecture.md`: plans are pure, SQL is in one place, the engine is behind
//! one trait. The compiler does not know them, so this test does. It reads sources as text; it follows
//! `use` trees and paths in code, not macros and not re-exports.

mod cases;
mod promises;
mod rules;
mod source;

use std::path::{Path, PathBuf};

use rules::{RULES, Violation, check};
use source::Source;

/// Folders with Rust sources of ours.
const ROOTS: [&str; 5] = ["api-types", "controller", "cli", "examples", "tests"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            if !entry.ends_with("target") {
                rust_files(&entry, found);
            }
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

fn tree() -> Vec<Source> {
    let root = repository();
    let mut files = Vec::new();
    for folder in ROOTS {
        rust_files(&root.join(folder), &mut files);
    }
    files.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("a text file");
        Source::new(path.strip_prefix(&root).expect("below the root").to_str().expect("UTF-8"), &text)
    };
    files.iter().map(read).collect()
}

#[test]
fn the_tree_keeps_its_rules() {
    let sources = tree();
    assert!(sources.len() > 30, "found only {} files: looking in the wrong place?", sources.len());
    let broken: Vec<String> = sources.iter().flat_map(check).map(|violation| violation.to_string()).collect();
    assert!(broken.is_empty(), "{} rule(s) of the source tree broken:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn clients_do_not_link_the_server() {
    for (manifest, forbidden) in [
        ("cli/Cargo.toml", &["skyswarm", "sqlx", "bollard", "axum"][..]),
        ("api-types/Cargo.toml", &["skyswarm", "sqlx", "bollard", "axum", "tokio", "reqwest"]),
        ("examples/sample-app/Cargo.toml", &["skyswarm", "skyswarm-api-types", "tokio"]),
    ] {
        let text = std::fs::read_to_string(repository().join(manifest)).expect("a manifest");
        // Tests may stand a server up.
        let linked = text.split("[dev-dependencies]").next().unwrap_or_default();
        for line in linked.lines() {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            assert!(!forbidden.contains(&name), "{manifest} may not depend on {name}");
        }
    }
}

/// Checks one made-up file and gives the names of the rules that it breaks.
fn broken(path: &str, text: &str) -> Vec<&'static str> {
    let mut names: Vec<_> =
        check(&Source::new(path, &format!("//! Header.\n{text}"))).into_iter().map(|violation: Violation| violation.rule).collect();
    names.dedup();
    names
}

#[test]
fn every_rule_can_fail() {
    let samples = [
        ("pure-plans", "controller/src/kinds/app/plan.rs", "use crate::engines::swarm::SwarmEngine;"),
        ("pure-plans", "controller/src/kinds/app/status.rs", "use super::observe::observe;"),
        ("pure-plans", "controller/src/kinds/app/plan.rs", "use crate::{plan::Plan, store::Store};"),
        ("pure-plans", "controller/src/kinds/app/plan.rs", "use tokio::time::sleep;"),
        ("pure-plans", "controller/src/kinds/app/plan.rs", "fn f() { std::fs::read(\"x\"); }"),
        ("pure-plans", "controller/src/kinds/app/plan.rs", "async fn f() {}"),
        ("sql-in-store", "controller/src/api/apps.rs", "fn f() { sqlx::query(\"select 1\"); }"),
        ("bollard-in-swarm", "controller/src/boot/preflight.rs", "use bollard::Docker;"),
        ("http-clients-in-engines", "controller/src/kinds/app/observe.rs", "use reqwest::Client;"),
        ("api-without-engines", "controller/src/api/logs.rs", "use crate::{clock, engines::{swarm::Task}};"),
        ("runtime-knows-no-kind", "controller/src/runtime/runner.rs", "use super::super::kinds::app;"),
        ("store-below-all", "controller/src/store/apps.rs", "use crate::api::router;"),
        ("processes-in-few-places", "controller/src/edge/mod.rs", "use tokio::process::{Child, Command};"),
        ("types-without-io", "api-types/src/meta.rs", "use std::net::TcpStream;"),
    ];
    for (rule, path, text) in samples {
        assert_eq!(broken(path, text), [rule], "{path}: {text}");
    }
    assert_eq!(broken("cli/src/a.rs", &"//\n".repeat(800)), ["short-files"]);
    assert_eq!(check(&Source::new("cli/src/a.rs", "fn f() {}")).first().map(|violation| violation.rule), Some("module-header"));
    let tested: Vec<&str> = samples.iter().map(|(rule, ..)| *rule).collect();
    for rule in RULES {
        assert!(tested.contains(&rule.name), "no sample breaks the rule {}", rule.name);
    }
}

#[test]
fn what_is_allowed_passes() {
    let samples = [
        ("controller/src/kinds/app/plan.rs", "use api_types::AppSpec;\nuse crate::engines::swarm::{Service, labels};\nuse super::render;"),
        ("controller/src/kinds/app/plan.rs", "use std::collections::BTreeMap;\nuse crate::plan::{Fact, Plan};\nuse crate::edge::Route;"),
        ("controller/src/kinds/app/plan.rs", "// crate::store is not used here\nconst A: &str = \"sqlx::query\";"),
        ("controller/src/kinds/app/plan.rs", "fn f() {}\n#[cfg(test)]\nmod tests { use crate::store::Store; }"),
        ("controller/src/kinds/app/tests.rs", "use tokio::test;"),
        ("controller/src/store/apps.rs", "use sqlx::PgPool; use crate::edge::Route;"),
        ("controller/src/engines/swarm/real.rs", "use bollard::Docker;"),
        ("controller/src/boot/postgres.rs", "use tokio::process::Command;"),
    ];
    for (path, text) in samples {
        assert_eq!(broken(path, text), [""; 0], "{path}: {text}");
    }
}
