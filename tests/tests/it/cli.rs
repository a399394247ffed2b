//! Every verb of the command line on a real platform: what it prints and how it ends.

use std::collections::BTreeSet;

use lab::platform::{IMAGE, Output, Platform};
use lab::redact;

/// What of an answer is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compare {
    /// All of it.
    All,
    /// Its last line up to the first semicolon: what comes before, and how many tasks are left of the release before,
    /// depends on how fast the machine is.
    Last,
    /// Its first line: what follows is long, or depends on the machine.
    First,
    /// Only the exit code and what went to the standard error.
    Code,
    /// Nothing but that there is an answer: the state of the platform is that of the machine.
    Answer,
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
    fn code(self) -> Self {
        Self { compare: Compare::Code, ..self }
    }
    fn answer(self) -> Self {
        Self { compare: Compare::Answer, ..self }
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
        step("whoami -o json"),
        step("login http://127.0.0.1:7070 --name local"),
        step("contexts"),
        step("contexts rename local here"),
        step("contexts set here --org acme"),
        step("contexts use nowhere"),
        step("contexts use here"),
        step("logout here"),
        step("contexts list -o name"),
        step("contexts delete here"),
        step("orgs create acme --display-name Acme"),
        step("create org spare"),
        step("orgs list"),
        step("orgs delete spare"),
        step("orgs delete spare"),
        step("tokens create ci --org acme --role viewer --expires 90d"),
        step("tokens list").first(),
        step("tokens list --org acme -o yaml").first(),
        step("tokens revoke cy"),
        step("tokens revoke ci --org acme"),
        step("settings list").first(),
        step("settings set edge.certificate_warning 20d"),
        step("settings set edge.certificate_warning soon"),
        step("settings get edge.default_domain"),
        step("settings get edge.default_domian"),
        step("settings reset edge.certificate_warning"),
        step("get nodes -o name"),
        step("get nodes --no-headers").code(),
        step("nodes list").first(),
        step("nodes token --expires 1h"),
        step("drain skyswarm-tset"),
        step("drain node/skyswarm-test --wait"),
        step("activate skyswarm-test --wait"),
        step("explain app.spec.suspend"),
        step("import -o yaml -").input(COMPOSE).first(),
        step("adopt service/nowhere"),
        step("completion bash").first(),
        step("man").first(),
        step("schemas --out /dev/null/x"),
        step("reference").first(),
        step("gte apps"),
        step("--help").first(),
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
        step("get app shop --org defualt"),
        step("get apps --org defualt"),
        step("get settings -w"),
        step("wait app/shop --for Ready"),
        step("describe app shop").first(),
        step("status").answer(),
        step("events app/shop").first(),
        step("logs shop --tail 1").code(),
        step("top app/shop").answer(),
        step("open app/shop --print --path /x"),
        step("why app/shop").first(),
        step("set env shop LEVEL=warn WORKERS=2 --wait").last(),
        step("unset env shop LEVEL"),
        step("unset secret shop KY"),
        step("set secret shop KEY").input("hunter4\n"),
        step("set image shop skyswarm/sample-app:1.0"),
        step("scale shop web=2 --wait").last(),
        step("scale shop wob=2"),
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

/// What went in and what came out, without what differs from run to run.
fn told(step: &Step, output: &Output) -> String {
    let cut = |text: &str| {
        let mut lines = text.lines();
        match step.compare {
            Compare::All => text.to_owned(),
            Compare::Last => lines.next_back().and_then(|line| line.split(';').next()).unwrap_or_default().to_owned(),
            Compare::First => lines.next().unwrap_or_default().to_owned(),
            Compare::Code | Compare::Answer => String::new(),
        }
    };
    let mut text = format!("$ skyctl {}\n", step.line);
    if step.compare == Compare::Answer {
        assert!(!output.stdout.trim().is_empty(), "{}: {output:?}", step.line);
        return text;
    }
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

/// Every verb that does something, as the program's own grammar has them: `apply`, `tokens list`.
async fn verbs(platform: &Platform) -> anyhow::Result<BTreeSet<String>> {
    let page = platform.skyctl(&["reference"]).await?.stdout;
    let all: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## skyctl ")).collect();
    let is_group = |verb: &str| all.iter().any(|other| other.strip_prefix(verb).is_some_and(|rest| rest.starts_with(' ')));
    Ok(all.iter().filter(|verb| !is_group(verb)).map(ToString::to_string).collect())
}

#[tokio::test]
async fn every_verb_says_what_it_did() -> anyhow::Result<()> {
    let platform = Platform::start_with_agents().await?;
    let (mut text, mut walked) = (String::new(), String::new());
    for step in platform_steps().into_iter().chain(app_steps()) {
        walked.push_str(&format!("{} \n", step.line));
        let words: Vec<&str> = step.line.split(' ').collect();
        let editor = [("EDITOR", "sed -i -e s/replicas:.*/replicas:\\ 1/")];
        let output = platform.skyctl_env(&words, &step.input, &editor).await?;
        assert!(!output.stderr.contains("panicked"), "{}: {output:?}", step.line);
        assert!(!format!("{output:?}").contains("hunter"), "{} shows a secret: {output:?}", step.line);
        assert!(!format!("{output:?}").contains('\u{1b}'), "{} has colours: {output:?}", step.line);
        text.push_str(&told(&step, &output));
        text.push('\n');
    }
    let known = verbs(&platform).await?;
    assert!(known.len() > 50 && known.contains("tokens list"), "{known:?}");
    let missing: Vec<&String> = known.iter().filter(|verb| !walked.lines().any(|line| line.starts_with(&format!("{verb} ")))).collect();
    assert!(missing.is_empty(), "no step of this walk uses {missing:?}");
    insta::assert_snapshot!(text);
    Ok(())
}
