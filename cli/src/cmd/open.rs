//! `skyctl open`: an app in the browser.

use std::ffi::OsStr;
use std::time::Duration;

use api_types::{App, Kind};
use url::Url;

use super::{Session, typed};
use crate::errors::{CliError, Result};
use crate::{output, program, resource};

const EXAMPLES: &str = "\
Examples:
  skyctl open app/shop             in the browser; its address where there is none
  skyctl open shop --path /admin
  curl \"$(skyctl open shop --print)\"

The browser is $BROWSER, else what the desktop opens addresses with.";

/// Longest time that a program which opens addresses may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Arguments of `open`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// App
    #[arg(value_name = "app/NAME")]
    pub name: String,
    /// Path below the app's address
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// Only print the address
    #[arg(long)]
    pub print: bool,
}

/// Runs the verb.
///
/// # Errors
/// See [`CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let name = resource::app(&args.name)?;
    let org = session.org().await?;
    let app: App = typed(&session.object(Kind::App, &org, &name).await?)?;
    let url = address(&app, args.path.as_deref())?;
    output::line(url.as_str())?;
    let Some(words) = browser().filter(|_| !args.print) else { return Ok(()) };
    let Some((browser, arguments)) = words.split_first() else { return Ok(()) };
    // A browser that stays in the foreground is left to itself.
    let ended = program::in_background(browser, arguments, OsStr::new(url.as_str()), DEADLINE).await;
    match ended.map_err(|error| CliError::io(format!("{browser} cannot be started; set BROWSER"), error))? {
        Some(status) if !status.success() => Err(CliError::Failed(format!("{browser} ended with {status}"))),
        Some(_) | None => Ok(()),
    }
}

/// Where an app answers, as observed.
fn address(app: &App, path: Option<&str>) -> Result<Url> {
    let name = &app.metadata.name;
    let first = app.status.as_ref().and_then(|status| status.urls.first());
    let first = first.ok_or_else(|| CliError::Failed(format!("app/{name} has no address; `skyctl describe app/{name}` says why")))?;
    let url = Url::parse(first).map_err(|error| CliError::io(format!("the address of app/{name} cannot be read"), error))?;
    // It goes to another program: nothing but a page may be opened.
    if !["http", "https"].contains(&url.scheme()) {
        return Err(CliError::Failed(format!("the address of app/{name} is no page: {first}")));
    }
    let Some(path) = path else { return Ok(url) };
    let joined = url.join(path).map_err(|error| CliError::io(format!("\"{path}\" is no path"), error))?;
    if joined.origin() != url.origin() {
        return Err(CliError::Usage(format!("\"{path}\" leads away from app/{name}; a path begins with one /")));
    }
    Ok(joined)
}

/// The program that opens pages, if somebody could see them.
fn browser() -> Option<Vec<String>> {
    if let Some(browser) = program::variable("BROWSER") {
        return shlex::split(&browser).filter(|words| !words.is_empty());
    }
    if cfg!(target_os = "macos") {
        return Some(vec!["open".to_owned()]);
    }
    (program::variable("DISPLAY").is_some() || program::variable("WAYLAND_DISPLAY").is_some()).then(|| vec!["xdg-open".to_owned()])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn app(urls: &[&str]) -> App {
        serde_json::from_value(json!({
            "apiVersion": "skyswarm.dev/v1", "kind": "App", "metadata": {"name": "shop"}, "spec": {"image": "a", "processes": {"w": {}}},
            "status": {"observedGeneration": 1, "urls": urls}
        }))
        .expect("an app")
    }

    #[test]
    fn only_pages_of_the_app_are_opened() {
        let shop = app(&["http://shop.example.com", "http://b.example.com"]);
        assert_eq!(address(&shop, None).expect("a page").as_str(), "http://shop.example.com/");
        assert_eq!(address(&shop, Some("/admin?x=1")).expect("a page").as_str(), "http://shop.example.com/admin?x=1");
        for path in ["//evil.example/", "http://evil.example/", "javascript:alert(1)"] {
            assert!(address(&shop, Some(path)).is_err(), "{path}");
        }
        assert!(address(&app(&[]), None).is_err() && address(&app(&["file:///etc/passwd"]), None).is_err());
    }
}
