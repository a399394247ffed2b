//! `skyctl get -w` on a real platform: what is there, every change, and a server that restarts in between.

use std::time::Duration;

use lab::platform::{IMAGE, Platform};
use serde_json::Value;

/// Longest wait for what must come.
const SOON: Duration = Duration::from_secs(90);

fn app(name: &str, team: &str, level: &str) -> String {
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: {name}, labels: {{team: {team}}}}}\nspec:\n  image: {IMAGE}\n  suspend: true\n  env: {{LEVEL: {level}}}\n  processes:\n    web: {{port: 8080}}\n"
    )
}

/// The words of a row.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[tokio::test]
async fn a_watch_shows_what_is_there_and_what_changes_also_over_a_restart_of_the_server() -> anyhow::Result<()> {
    let mut platform = Platform::start().await?;
    platform.apply(&app("shop", "core", "info")).await?;
    platform.until_done("shop").await?;

    let mut table = platform.skyctl_follow(&["get", "apps", "-w", "--output-watch-events"])?;
    let mut core = platform.skyctl_follow(&["get", "apps", "-l", "team=core", "--watch-only", "-o", "json"])?;
    let mut names = platform.skyctl_follow(&["get", "apps", "-A", "--watch", "-o", "name"])?;
    let first = table.until(SOON, "the first row", |line| line.contains("shop")).await?;
    assert_eq!(words(&first[0])[..3], ["EVENT", "NAME", "READY"], "{first:?}");
    assert_eq!(words(&first[1])[..2], ["ADDED", "shop"], "{first:?}");
    names.until(SOON, "app/shop", |line| line == "app/shop").await?;

    platform.apply(&app("blog", "edge", "info")).await?;
    let rows = table.until(SOON, "the new app", |line| line.contains("blog")).await?;
    assert_eq!(words(&rows[rows.len() - 1])[..2], ["ADDED", "blog"], "{rows:?}");
    names.until(SOON, "app/blog", |line| line == "app/blog").await?;
    platform.apply(&app("shop", "core", "debug")).await?;
    let debug = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|app| app["spec"]["env"]["LEVEL"] == "debug");
    let lines = core.until(SOON, "the change as JSON", debug).await?;
    assert!(lines.iter().all(|line| line.contains("\"shop\"")), "only what the labels select, and nothing from before: {lines:?}");

    // What happens while no server listens cannot be told then; what happens after it is told once.
    platform.until_done("shop").await?;
    platform.until_done("blog").await?;
    platform.stop_server().await?;
    platform.start_server().await?;
    platform.apply(&app("late", "core", "info")).await?;
    let rows = table.until(SOON, "the app of the new server", |line| line.contains("late")).await?;
    let added: Vec<&String> = rows.iter().filter(|row| row.starts_with("ADDED")).collect();
    assert!(added.len() == 1 && added[0].contains("late"), "what is known is not told again: {rows:?}");
    let lines = core.until(SOON, "the app of the new server", |line| line.contains("\"late\"")).await?;
    assert!(!lines.iter().any(|line| line.contains("\"blog\"")), "{lines:?}");

    let deleted = platform.skyctl(&["delete", "app", "blog", "--wait"]).await?;
    assert_eq!(deleted.code, 0, "{deleted:?}");
    let rows = table.until(SOON, "the deletion", |line| line.starts_with("DELETED")).await?;
    assert!(rows[rows.len() - 1].contains("blog") && rows[rows.len() - 1].contains("Deleted"), "{rows:?}");

    table.interrupt()?;
    let (code, said) = table.end().await?;
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("trying again") && said.contains("connected again"), "{said}");
    names.stop_reading();
    assert_eq!(names.end().await?.0, Some(0));

    // A name that does not exist is a slip; what cannot be watched is said.
    let slip = platform.skyctl(&["get", "app", "shpo", "-w"]).await?;
    assert!(slip.code == 3 && slip.stderr.contains("did you mean \"shop\"?"), "{slip:?}");
    let kinds = platform.skyctl(&["get", "settings", "-w"]).await?;
    assert!(kinds.code == 2 && kinds.stderr.contains("cannot be watched"), "{kinds:?}");
    Ok(())
}
