//! How commands end when nobody reads them any more or somebody has had enough; colours; completion in a real shell.

use std::time::Duration;

use api_types::App;
use lab::platform::{IMAGE, Platform, from_env};
use lab::skyctl::run;
use tokio::process::Command;

/// Longest wait for what must come.
const SOON: Duration = Duration::from_secs(60);

fn app(name: &str, suspend: bool) -> String {
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  image: {IMAGE}\n  suspend: {suspend}\n  processes:\n    web: {{port: 8080, health: {{path: /healthz}}}}\n  rollout: {{healthWindow: 1s}}\n"
    )
}

/// Commands that print something and end by themselves.
const PRINTS: [&str; 27] = [
    "get apps",
    "get nodes -o yaml",
    "get events",
    "get settings -o wide",
    "history shop",
    "show shop",
    "events",
    "logs shop",
    "tokens list",
    "orgs list",
    "settings list",
    "contexts",
    "explain app",
    "reference",
    "completion zsh",
    "man",
    "describe app shop",
    "status",
    "version",
    "whoami",
    "top",
    "diff shop 1 1",
    "plan shop",
    "drift",
    "why shop",
    "--help",
    "get --help",
];

#[tokio::test]
async fn a_reader_that_goes_away_and_a_person_who_has_enough_end_a_command_well() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&app("shop", false)).await?;
    for line in PRINTS {
        let mut command = platform.skyctl_follow(&line.split(' ').collect::<Vec<_>>())?;
        command.stop_reading();
        let (code, said) = command.end().await?;
        assert!(code == Some(0) && !said.contains("error"), "{line} ended with {code:?}: {said}");
    }
    for line in ["logs shop -f", "get apps -w", "events -w"] {
        let words: Vec<&str> = line.split(' ').collect();
        // Nothing happens any more, so that writing would not tell.
        let mut command = platform.skyctl_follow(&words)?;
        command.until(SOON, "a line", |_| true).await?;
        command.stop_reading();
        assert_eq!(command.end().await?, (Some(0), String::new()), "{line}");

        let mut command = platform.skyctl_follow(&words)?;
        command.until(SOON, "a line", |_| true).await?;
        command.interrupt()?;
        let (code, said) = command.end().await?;
        assert_eq!((code, said.trim()), (Some(130), ""), "{line} only looks: nothing goes on");
    }
    // Its check never passes, so that somebody has enough of waiting on a machine of any speed.
    let file = tempfile::NamedTempFile::with_suffix(".yaml")?;
    let check = "{path: /nothing, interval: 60s, failureThreshold: 10}";
    std::fs::write(file.path(), app("stuck", false).replace("{path: /healthz}", check))?;
    let mut command = platform.skyctl_follow(&["apply", "-f", &file.path().display().to_string(), "--wait"])?;
    command.until(SOON, "progress", |line| line.contains("app/stuck:")).await?;
    command.interrupt()?;
    let (code, said) = command.end().await?;
    assert_eq!((code, said.trim()), (Some(130), "interrupted; what was sent to the server goes on there"));
    let asked =
        |app: &App| app.status.iter().flat_map(|status| &status.conditions).any(|condition| condition.message.contains("answered 404"));
    platform.until("stuck", SOON, "started and asked", asked).await?;
    colours(&platform).await
}

/// On a terminal there are colours, if not for `NO_COLOR`; elsewhere none.
async fn colours(platform: &Platform) -> anyhow::Result<()> {
    let skyctl = from_env("SKYCTL_BIN")?;
    for (variable, flag, coloured) in [("", "", true), ("1", "", false), ("", " --no-color", false)] {
        let mut command = Command::new("script");
        command.args(["-qec", &format!("{} get apps{flag}", skyctl.display()), "/dev/null"]);
        platform.as_client(&mut command);
        command.env("TERM", "xterm").env("NO_COLOR", variable).env_remove("CLICOLOR");
        let output = run(command, "").await?;
        assert!(output.code == 0 && output.stdout.contains("shop"), "{output:?}");
        assert_eq!(output.stdout.contains('\u{1b}'), coloured, "NO_COLOR={variable}{flag}: {output:?}");
    }
    let output = platform.skyctl(&["get", "apps"]).await?;
    assert!(!output.stdout.contains('\u{1b}'), "{output:?}");
    Ok(())
}

/// What bash offers for the last word of a line.
async fn offered(platform: &Platform, line: &str, url: Option<&str>) -> anyhow::Result<Vec<String>> {
    // As an interactive bash does at a press of the key: it calls the registered function with the words of the line.
    let script = r#"
        source <(skyctl completion bash)
        function=$(complete -p skyctl | sed 's/.* -F \([^ ]*\) .*/\1/')
        read -ra COMP_WORDS <<<"$LINE"
        if [[ $LINE == *" " ]]; then COMP_WORDS+=(""); fi
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_TYPE=9
        "$function" skyctl "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let folder = from_env("SKYCTL_BIN")?.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    let mut command = Command::new("bash");
    command.args(["-c", script]).env("LINE", line).env("PATH", format!("{folder}:{}", std::env::var("PATH")?));
    platform.as_client(&mut command);
    if let Some(url) = url {
        command.env("SKYSWARM_URL", url);
    }
    let output = run(command, "").await?;
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{line}: {output:?}");
    Ok(output.stdout.lines().map(|word| word.trim_end().to_owned()).filter(|word| !word.is_empty() && !word.starts_with('-')).collect())
}

#[tokio::test]
async fn bash_completes_names_from_the_server_and_is_silent_without_one() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.apply(&format!("{}---\n{}", app("shop", true), app("blog", true))).await?;
    for (line, wanted) in [
        ("skyctl describe app s", vec!["shop"]),
        ("skyctl get app/b", vec!["app/blog"]),
        ("skyctl logs ", vec!["blog", "shop"]),
        ("skyctl rollback shop --to ", vec!["1"]),
        ("skyctl get apps --org de", vec!["default"]),
        ("skyctl settings get edge.default_", vec!["edge.default_domain"]),
        ("skyctl get no", vec!["nodes"]),
        ("skyctl roll", vec!["rollback"]),
        ("skyctl tokens rev", vec!["revoke"]),
    ] {
        assert_eq!(offered(&platform, line, None).await?, wanted, "{line}");
    }
    // Nobody listens there.
    let none = offered(&platform, "skyctl logs ", Some("http://127.0.0.1:1")).await?;
    assert!(!none.iter().any(|word| word == "shop"), "{none:?}");
    Ok(())
}
