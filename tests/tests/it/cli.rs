//! Every verb of the command line on a real platform: what it prints, how it ends, and what it does when nobody
//! reads it or somebody has had enough.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use lab::platform::{IMAGE, Output, Platform};
use lab::redact;
use tokio::io::AsyncReadExt;

/// What of an answer is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compare {
    /// All of it.
    All,
    /// Its last line: what comes before depends on how fast the machine is.
    Last,
    /// Its first line: what follows is long, or depends on the machine.
    First,
}

/// One command of the walk.
struct Step {
    line: String,
    input: String,
    compare: Compare,
}

fn step(line: &str) -> Step {
    Step { line: line.to_owned(), input: String::new(), compare: Compare::All }
}

impl Step {
    fn input(self, text: &str) -> Self {
        Self { input: text.to_owned(), ..self }
    }
    fn last(self) -> Self {
        Self { compare: Compare::Last, ..self }
    }
    fn first(self) -> Self {
        Self { compare: Compare::First, ..self }
    }
}

fn shop(level: &str) -> String {
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: shop, labels: {{team: core}}}}\nspec:\n  image: {IMAGE}\n  env: {{LEVEL: {level}}}\n  secrets: {{KEY: hunter2}}\n  processes:\n    web: {{port: 8080, replicas: 1, health: {{path: /healthz}}}}\n  rollout: {{healthWindow: 1s}}\n"
    )
}

const BLOG: &str = "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {name: blog}\nspec:\n  image: skyswarm/sample-app:1.0\n  suspend: true\n  processes:\n    web: {port: 8080}\n";
const BROKEN: &str = "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {name: shop}\nspec: {imge: a, processes: {web: {port: 0}}}\n";
const COMPOSE: &str = "services:\n  web:\n    image: nginx:1\n    ports: [\"80:8080\"]\n    volumes: [\"data:/data\"]\n";

/// Before there is anything: servers, tokens, organisations, settings.
fn platform_steps() -> Vec<Step> {
    vec![
        step("version"),
        step("whoami"),
        step("login http://127.0.0.1:7070 --name local"),
        step("contexts"),
        step("contexts rename local here"),
        step("contexts set here --org acme"),
        step("contexts use nowhere"),
        step("logout here"),
        step("contexts list -o name"),
        step("contexts delete here"),
        step("orgs create acme --display-name Acme"),
        step("create org spare"),
        step("orgs list"),
        step("orgs delete spare"),
        step("orgs delete spare"),
        step("tokens create ci --org acme --role viewer --expires 90d"),
        step("tokens list"),
        step("tokens list --org acme -o yaml").first(),
        step("tokens revoke cy"),
        step("tokens revoke ci --org acme"),
        step("settings list").first(),
        step("settings set edge.certificate_warning 20d").first(),
        step("settings get edge.default_domain"),
        step("settings reset edge.default_domain"),
        step("get nodes --no-headers"),
        step("explain app.spec.suspend"),
        step("import -o yaml -").input(COMPOSE).first(),
        step("completion bash").first(),
        step("man").first(),
        step("schemas --out /dev/null/x"),
        step("reference").first(),
    ]
}

/// An app from its first manifest to its end.
fn app_steps() -> Vec<Step> {
    vec![
        step("get apps"),
        step("apply -f -").input(BROKEN),
        step("apply -f - --dry-run").input(&shop("info")),
        step("diff -f -").input(&shop("info")),
        step("plan -f -").input(&shop("info")),
        step("apply -f - --apply-set main --wait").input(&format!("{}---\n{BLOG}", shop("info"))).last(),
        step("diff -f -").input(&shop("debug").replace("team: core", "team: core, apply-set: main").replace("hunter2", "hunter3")),
        step("get apps -l team=core"),
        step("get apps -A --sort-by name -o name"),
        step("get app shp"),
        step("wait app/shop --for Ready"),
        step("describe app shop").first(),
        step("status").first(),
        step("events app/shop").first(),
        step("logs shop --tail 1").first(),
        step("top app/shop").first(),
        step("open app/shop --print --path /x"),
        step("why app/shop").first(),
        step("set env shop LEVEL=warn WORKERS=2 --wait").last(),
        step("unset env shop LEVEL"),
        step("unset secret shop KY"),
        step("set secret shop KEY").input("hunter4\n"),
        step("set image shop skyswarm/sample-app:1.0"),
        step("scale shop web=2 --wait").last(),
        step("restart shop --wait").last(),
        step("stop shop --wait").last(),
        step("start shop --wait").last(),
        step("edit app/shop"),
        step("history shop --limit 1").first(),
        step("show shop --revision 1"),
        step("diff shop 1 2"),
        step("rollback shop --to 1 --wait").last(),
        step("retry shop"),
        step("pause app/shop --for 2h --because look"),
        step("resume app/shop"),
        step("drift app/shop").first(),
        step("apply -f - --apply-set main --prune").input(&shop("info")),
        step("apply -f - --apply-set main --prune --yes --wait").input(&shop("info")).last(),
        step("delete app/blog --wait --ignore-not-found").last(),
        step("delete app shop --wait").last(),
        step("delete app shop"),
    ]
}

fn told(step: &Step, output: &Output) -> String {
    let cut = |text: &str| {
        let lines: Vec<&str> = text.lines().collect();
        match step.compare {
            Compare::All => text.to_owned(),
            Compare::Last => lines.last().copied().unwrap_or_default().to_owned(),
            Compare::First => lines.first().copied().unwrap_or_default().to_owned(),
        }
    };
    let mut text = format!("$ skyctl {}\n", step.line);
    let out = redact::text(&cut(&output.stdout));
    if !out.trim().is_empty() {
        text.push_str(out.trim_end());
        text.push('\n');
    }
    for line in redact::text(&output.stderr).lines() {
        text.push_str(&format!("! {line}\n"));
    }
    if output.code != 0 {
        text.push_str(&format!("[exit {}]\n", output.code));
    }
    text
}

/// The verbs that `--help` shows.
async fn verbs(platform: &Platform) -> anyhow::Result<BTreeSet<String>> {
    let help = platform.skyctl(&["--help"]).await?.stdout;
    let list = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
    // A verb is indented by two; the rest of a long line by more.
    let verb = |line: &str| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')).and_then(|rest| rest.split_whitespace().next().map(str::to_owned));
    Ok(list.lines().filter_map(verb).collect())
}

#[tokio::test]
async fn every_verb_says_what_it_did() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    let mut text = String::new();
    let mut walked = BTreeSet::new();
    for step in platform_steps().into_iter().chain(app_steps()) {
        let words: Vec<&str> = step.line.split(' ').collect();
        walked.insert(words[0].to_owned());
        // The editor appends a comment, which changes nothing that is stored.
        let editor = [("EDITOR", "sed -i -e s/replicas:.*/replicas:\\ 1/")];
        let output = platform.skyctl_env(&words, &step.input, &editor).await?;
        assert!(!output.stderr.contains("panicked"), "{}: {output:?}", step.line);
        assert!(!format!("{output:?}").contains("hunter"), "{} shows a secret: {output:?}", step.line);
        text.push_str(&told(&step, &output));
        text.push('\n');
    }
    let known = verbs(&platform).await?;
    assert!(known.len() > 30, "{known:?}");
    let missing: Vec<&String> = known.difference(&walked).collect();
    assert!(missing.is_empty(), "no step of this walk uses {missing:?}");
    insta::assert_snapshot!(text);
    Ok(())
}

/// Runs a command whose output nobody reads.
async fn unread(platform: &Platform, words: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
    let mut child = platform.skyctl_command(words)?.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    drop(child.stdout.take());
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        tokio::time::timeout(Duration::from_secs(30), stderr.read_to_string(&mut said)).await??;
    }
    Ok((child.wait().await?.code(), said))
}

#[tokio::test]
async fn a_reader_that_goes_away_and_a_person_who_has_enough_end_a_command_well() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&shop("info")).await?;
    for line in [
        "get apps", "get nodes -o yaml", "get events", "get settings -o wide", "history shop", "show shop", "events", "logs shop", "tokens list",
        "orgs list", "settings list", "contexts", "explain app", "reference", "completion zsh", "man", "describe app shop", "status", "version",
        "whoami", "top", "diff shop 1 1", "plan shop", "--help", "get --help",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let (code, said) = unread(&platform, &words).await?;
        assert!(!said.contains("panicked") && !said.contains("error"), "{line}: {said}");
        assert_eq!(code, Some(0), "{line}: {said}");
    }
    let mut child = platform.skyctl_command(&["logs", "shop", "-f"])?.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut first = [0; 1];
    let mut stdout = child.stdout.take().ok_or_else(|| anyhow::anyhow!("no output"))?;
    tokio::time::timeout(Duration::from_secs(30), stdout.read_exact(&mut first)).await??;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.ok_or_else(|| anyhow::anyhow!("no pid"))?, rustix::process::Signal::INT)?;
    let status = tokio::time::timeout(Duration::from_secs(10), child.wait()).await??;
    assert_eq!(status.code(), Some(130));
    Ok(())
}

#[tokio::test]
async fn names_complete_from_the_server_and_their_absence_is_silent() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.skyctl_with(&["apply", "-f", "-"], &format!("{}---\n{BLOG}", shop("info"))).await?;
    let complete = async |line: &str, url: &str| -> anyhow::Result<(i32, String, String)> {
        let words: Vec<&str> = ["--"].into_iter().chain(line.split(' ')).collect();
        let index = (words.len() - 2).to_string();
        let env = [("_SKYCTL_COMPLETE", "bash"), ("_CLAP_COMPLETE_INDEX", index.as_str()), ("_CLAP_IFS", "\n"), ("SKYSWARM_URL", url)];
        let output = platform.skyctl_env(&words, "", &env).await?;
        Ok((output.code, output.stdout, output.stderr))
    };
    let server = "http://127.0.0.1:7070";
    for (line, wanted) in [
        ("skyctl describe app s", "shop"),
        ("skyctl get app/b", "app/blog"),
        ("skyctl logs ", "blog\nshop"),
        ("skyctl rollback shop --to ", "1"),
        ("skyctl --org de", ""),
        ("skyctl get apps --org de", "default"),
        ("skyctl settings get edge.default_", "edge.default_domain"),
        ("skyctl get no", "nodes"),
    ] {
        let (code, out, said) = complete(line, server).await?;
        assert_eq!((code, said.as_str()), (0, ""), "{line}");
        let words: Vec<&str> = out.lines().filter(|word| !word.starts_with('-')).collect();
        assert!(wanted.is_empty() || words.join("\n") == wanted, "{line}: {out}");
    }
    // Nobody listens there.
    let (code, out, said) = complete("skyctl logs ", "http://127.0.0.1:1").await?;
    assert_eq!((code, said.as_str()), (0, ""));
    assert!(!out.contains("shop"), "{out}");
    Ok(())
}
