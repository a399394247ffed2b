//! What `/metrics` says on a real server: every metric is documented, every documented one is there, and alert rules
//! and dashboard ask for nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::platform::Platform;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Metrics that are there only while what they are about is.
const CONDITIONAL: [&str; 1] = ["skyswarm_certificate_expiry_seconds"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Words that begin like a metric of ours.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = text.split(|character| !is_part(character));
    words.filter(|word| ["skyswarm_", "process_"].iter().any(|prefix| word.starts_with(prefix))).map(str::to_owned).collect()
}

/// Metrics that a scrape declares.
fn declared(metrics: &str) -> BTreeSet<String> {
    metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).map(str::to_owned).collect()
}

/// Metrics that the page describes: the first word of each row of its tables.
fn documented(page: &str) -> BTreeSet<String> {
    page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect()
}

/// The metrics of a histogram's samples.
fn family(name: &str, known: &BTreeSet<String>) -> String {
    let suffix = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
    suffix.filter(|family| known.contains(*family)).unwrap_or(name).to_owned()
}

#[tokio::test]
async fn every_metric_is_documented_and_what_rules_and_panels_ask_for_is_there() -> Result<()> {
    let platform = Platform::start().await?;
    platform
        .deploy("apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {name: seen}\nspec: {image: skyswarm/sample-app:1.0, processes: {web: {port: 8080}}, rollout: {healthWindow: 1s}}\n")
        .await?;
    platform.until_ready("seen").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let metrics = platform.metrics().await?;

    let declared = declared(&metrics);
    let documented = documented(&std::fs::read_to_string(root().join("docs/metrics.md"))?);
    let conditional = CONDITIONAL.map(str::to_owned).into();
    let undocumented: Vec<&String> = declared.difference(&documented).collect();
    assert!(undocumented.is_empty(), "docs/metrics.md has no row for {undocumented:?}");
    let missing: BTreeSet<String> = documented.difference(&declared).cloned().collect();
    assert!(missing.is_subset(&conditional), "docs/metrics.md promises {missing:?}, which the server does not emit");

    for file in ["charts/prometheus/skyswarm.rules.yaml", "charts/grafana/skyswarm.json"] {
        let asked: BTreeSet<String> =
            named(&std::fs::read_to_string(root().join(file))?).iter().map(|name| family(name, &documented)).collect();
        let unknown: Vec<&String> = asked.difference(&documented).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}, which no server emits");
        if file.ends_with(".json") {
            let unseen: Vec<&String> = documented.difference(&asked).collect();
            assert!(unseen.is_empty(), "no panel shows {unseen:?}");
        }
    }

    let value = |sample: &str| -> Result<&str> {
        metrics.lines().find_map(|line| line.strip_prefix(sample)).with_context(|| format!("no {sample} in\n{metrics}"))
    };
    for sample in [
        "skyswarm_leader ",
        "skyswarm_apps{ready=\"true\"} ",
        "skyswarm_rollouts_total{result=\"ready\"} ",
        "skyswarm_engine_calls_total{object=\"service\",verb=\"create\",result=\"ok\"} ",
        "skyswarm_edge_proxy_up ",
    ] {
        assert_eq!(value(sample)?, "1", "{sample}");
    }
    assert_eq!(value("skyswarm_edge_revision_applied ")?, value("skyswarm_edge_revision ")?);
    assert_ne!(value("skyswarm_reconcile_runs_total{controller=\"app\",result=\"requeued\"} ")?, "0");
    promtool(&["check", "metrics"], &metrics).await
}

#[tokio::test]
async fn the_alert_rules_are_sound_and_pass_their_tests() -> Result<()> {
    let folder = root().join("charts/prometheus");
    let path = |file: &str| folder.join(file).display().to_string();
    promtool(&["check", "rules", &path("skyswarm.rules.yaml")], "").await?;
    promtool(&["test", "rules", &path("skyswarm.rules.test.yaml")], "").await
}

/// Prometheus' own tool; `./dev test` unpacks it.
async fn promtool(args: &[&str], input: &str) -> Result<()> {
    let program = std::env::var("PROMTOOL_BIN").context("PROMTOOL_BIN names Prometheus' promtool; ./dev test sets it")?;
    let mut child =
        Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await??;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "promtool {args:?}: {text}");
    Ok(())
}
