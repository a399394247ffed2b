//! `docs/api.md`: an example for every route, and every example works.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use lab::platform::Platform;

/// An example: the route of its heading, and its commands.
#[derive(Debug)]
struct Example {
    route: String,
    commands: String,
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// The examples of a page, in order: blocks marked `sh` below a heading with a method and a path.
fn examples(text: &str) -> Vec<Example> {
    let (mut found, mut route, mut block) = (Vec::new(), String::new(), None::<String>);
    for line in text.lines() {
        match &mut block {
            Some(commands) if line == "```" => {
                found.push(Example { route: route.clone(), commands: std::mem::take(commands) });
                block = None;
            }
            Some(commands) => {
                commands.push_str(line);
                commands.push('\n');
            }
            None if line == "```sh" => block = Some(String::new()),
            None => {
                if let Some(heading) = line.strip_prefix("### ") {
                    heading.clone_into(&mut route);
                }
            }
        }
    }
    found
}

fn page() -> anyhow::Result<Vec<Example>> {
    Ok(examples(&std::fs::read_to_string(docs().join("api.md"))?))
}

/// Whether a command calls a route: with its method, and a path of its shape.
fn calls(commands: &str, route: &str) -> bool {
    let Some((method, template)) = route.split_once(' ') else { return false };
    let wanted: Vec<&str> = template.split('/').collect();
    let flat = commands.replace("\\\n", " ");
    flat.lines().filter(|line| line.contains("curl ")).any(|line| {
        let sent = line.split_once("-X ").map_or("GET", |(_, rest)| rest.split(' ').next().unwrap_or_default());
        let path = line.split_once("$SKYSWARM_URL").map_or("", |(_, rest)| rest.split(['"', '?', ' ']).next().unwrap_or_default());
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |(part, wanted): (&&str, &&str)| if wanted.starts_with('{') { !part.is_empty() } else { part == wanted };
        sent == method && parts.len() == wanted.len() && parts.iter().zip(&wanted).all(fits)
    })
}

#[test]
fn every_route_has_an_example_that_calls_it() -> anyhow::Result<()> {
    let document: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(docs().join("openapi.json"))?)?;
    let paths = document["paths"].as_object().context("the document has paths")?;
    let mut routes = BTreeSet::new();
    for (path, operations) in paths {
        for method in operations.as_object().into_iter().flatten().map(|(method, _)| method.to_uppercase()) {
            routes.insert(format!("{method} {path}"));
        }
    }
    let mut shown: BTreeMap<String, bool> = BTreeMap::new();
    for example in page()? {
        *shown.entry(example.route.clone()).or_default() |= calls(&example.commands, &example.route);
    }
    let wrong: Vec<&String> = shown.iter().filter(|(_, calls)| !**calls).map(|(route, _)| route).collect();
    assert!(wrong.is_empty(), "examples that do not call the route of their heading: {wrong:#?}");
    let shown: BTreeSet<String> = shown.into_keys().collect();
    let missing: Vec<&String> = routes.difference(&shown).collect();
    assert!(missing.is_empty(), "docs/api.md has no example of {missing:#?}");
    let gone: Vec<&String> = shown.difference(&routes).collect();
    assert!(gone.is_empty(), "docs/api.md has examples of routes that do not exist: {gone:#?}");
    Ok(())
}

#[test]
fn an_example_that_calls_something_else_is_noticed() {
    assert!(calls("curl -X PUT \"$SKYSWARM_URL/v1/orgs/acme?x\" \\\n  -d '{}'\n", "PUT /v1/orgs/{org}"));
    assert!(!calls("curl \"$SKYSWARM_URL/v1/orgs/acme\"\n", "PUT /v1/orgs/{org}"));
    assert!(!calls("curl \"$SKYSWARM_URL/v1/orgs/acme/apps\"\n", "GET /v1/orgs/{org}"));
    assert!(!calls("curl \"$SKYSWARM_URL/v1/apps/acme\"\n", "GET /v1/orgs/{org}"));
}

#[tokio::test]
async fn every_example_works_in_the_order_of_the_page() -> anyhow::Result<()> {
    let platform = Platform::start_with_agents().await?;
    let folder = tempfile::tempdir()?;
    let examples = page()?;
    assert!(examples.len() > 40, "only {} examples were found", examples.len());
    for Example { route, commands } in examples {
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-eu", "-c", &commands]).current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        platform.as_client(&mut shell);
        shell.env("DOCKER_HOST", platform.dockerd.host());
        let output = tokio::time::timeout(Duration::from_secs(60), shell.output()).await.with_context(|| format!("{route} hangs"))??;
        let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{route}: {}\n{said}\n{complaint}\n{}", output.status, platform.log());
        // Deletion of what has no answer, and what goes to a file.
        let quiet = route.starts_with("DELETE ") || commands.contains(" >");
        assert!(quiet || !said.trim().is_empty(), "{route} answered nothing");
    }
    Ok(())
}
