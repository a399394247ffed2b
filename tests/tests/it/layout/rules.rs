//! The rules, each with its reason.

use std::fmt;

use super::source::Source;

/// Longest file. Above 400 lines a file is already worth splitting.
const MAX_LINES: usize = 800;

/// A rule about which paths a part of the tree may name.
pub(super) struct Rule {
    pub(super) name: &'static str,
    why: &'static str,
    /// Whether the rule is about this file.
    about: fn(&str) -> bool,
    /// The first thing that breaks it.
    broken_by: fn(&Source) -> Option<String>,
}

/// A broken rule.
pub(super) struct Violation {
    path: String,
    pub(super) rule: &'static str,
    what: String,
    why: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}: {} ({}: {})", self.path, self.what, self.rule, self.why)
    }
}

pub(super) const RULES: [Rule; 9] = [
    Rule {
        name: "pure-plans",
        why: "plan and status are pure: the same value feeds dry run, tests and executor",
        about: |path| path.starts_with("controller/src/kinds/") && (part_of(path, "plan") || part_of(path, "status")),
        broken_by: impurity,
    },
    Rule {
        name: "sql-in-store",
        why: "SQL is only in store/",
        about: |path| path.starts_with("controller/src/") && !path.starts_with("controller/src/store/"),
        broken_by: |source| any_of(source, &["sqlx"]),
    },
    Rule {
        name: "bollard-in-swarm",
        why: "the engine is behind one trait of our own types",
        about: |path| path.starts_with("controller/src/") && !path.starts_with("controller/src/engines/swarm/"),
        broken_by: |source| any_of(source, &["bollard"]),
    },
    Rule {
        name: "http-clients-in-engines",
        why: "requests to others are made in engines/, and by the edge's prober",
        about: |path| {
            path.starts_with("controller/src/")
                && !path.starts_with("controller/src/engines/")
                && !path.starts_with("controller/src/edge/prob")
        },
        broken_by: |source| any_of(source, &["reqwest"]),
    },
    Rule {
        name: "api-without-engines",
        why: "the API role has no engine: it reads what the controller stored",
        about: |path| path.starts_with("controller/src/api/"),
        broken_by: |source| any_of(source, &["crate::engines"]),
    },
    Rule {
        name: "runtime-knows-no-kind",
        why: "the loop is the same for every kind",
        about: |path| path.starts_with("controller/src/runtime/"),
        broken_by: |source| any_of(source, &["crate::kinds", "crate::store", "crate::engines", "crate::api"]),
    },
    Rule {
        name: "store-below-all",
        why: "the store serves all parts and calls none",
        about: |path| path.starts_with("controller/src/store/"),
        broken_by: |source| any_of(source, &["crate::kinds", "crate::engines", "crate::api", "crate::runtime", "crate::boot"]),
    },
    Rule {
        name: "processes-in-few-places",
        why: "child processes are started where their end is looked after",
        about: |path| {
            ["controller/src/", "cli/src/", "api-types/src/"].iter().any(|root| path.starts_with(root))
                && !path.starts_with("controller/src/boot/")
                && !["controller/src/engines/traefik/process.rs", "cli/src/program.rs"].contains(&path)
        },
        broken_by: |source| any_of(source, &["tokio::process::Command", "std::process::Command"]),
    },
    Rule {
        name: "types-without-io",
        why: "clients, server and editors share these types; they do no I/O",
        about: |path| path.starts_with("api-types/src/"),
        broken_by: |source| any_of(source, &IO),
    },
];

/// The standard library's I/O, and the packages that do I/O.
const IO: [&str; 15] = [
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "tokio",
    "reqwest",
    "sqlx",
    "bollard",
    "axum",
    "rand",
];

/// All rules that a file breaks.
pub(super) fn check(source: &Source) -> Vec<Violation> {
    let violation = |rule, what, why| Violation { path: source.path.clone(), rule, what, why };
    let mut found = Vec::new();
    if source.lines > MAX_LINES {
        found.push(violation("short-files", format!("{} lines", source.lines), "a file has at most 800 lines"));
    }
    if !source.has_header && !source.is_test() {
        found.push(violation("module-header", "no module header".to_owned(), "a file opens by saying why it exists"));
    }
    if !source.is_test() {
        for rule in RULES.iter().filter(|rule| (rule.about)(&source.path)) {
            found.extend((rule.broken_by)(source).map(|what| violation(rule.name, what, rule.why)));
        }
    }
    found
}

/// Whether a file is the module `name` or a part of it: `plan.rs`, `plan/mod.rs`, `plan/steps.rs`.
fn part_of(path: &str, name: &str) -> bool {
    path.ends_with(&format!("/{name}.rs")) || path.contains(&format!("/{name}/"))
}

fn any_of(source: &Source, prefixes: &[&str]) -> Option<String> {
    prefixes.iter().find_map(|prefix| source.names_below(prefix)).map(|name| format!("names {name}"))
}

/// What keeps a plan or a status from being pure.
fn impurity(source: &Source) -> Option<String> {
    if let Some(word) = source.words.iter().find(|word| matches!(word.as_str(), "async" | "await" | "unsafe")) {
        return Some(format!("uses {word}"));
    }
    if let Some(what) = any_of(source, &IO) {
        return Some(what);
    }
    let own = source.path.trim_start_matches("controller/src/").split('/').take(2).collect::<Vec<_>>().join("::");
    let pure = |name: &str| {
        let Some(inside) = name.strip_prefix("crate::") else { return true };
        let first_below = |module: &str| inside.strip_prefix(module).and_then(|rest| rest.strip_prefix("::")).map(first);
        if let Some(item) = first_below(&own) {
            return !matches!(item, "observe" | "apply");
        }
        if let Some(item) = first_below("engines::swarm") {
            return !matches!(item, "SwarmEngine" | "real" | "fake" | "convert");
        }
        match first_below("edge") {
            // Data only: the edge's own modules are in lower case.
            Some(item) => item.starts_with(char::is_uppercase) || item == "route_key",
            None => first(inside) == "plan",
        }
    };
    source.names.iter().find(|name| !pure(name)).map(|name| format!("names {name}"))
}

fn first(path: &str) -> &str {
    path.split("::").next().unwrap_or_default()
}
