//! `skyctl login` and `skyctl logout`: a context with a token that the server was asked about.

use api_types::api::WhoAmI;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::contexts::check_name;
use crate::args::Globals;
use crate::client::{Client, routes};
use crate::context::{Config, Context, DEFAULT_URL, Target};
use crate::errors::{CliError, Result};
use crate::{input, output};

const EXAMPLES: &str = "\
Examples:
  skyctl login https://sky.example.com                 asks for the token, without echo
  skyctl login https://sky.example.com --name prod --org acme
  skyctl login --token-stdin < admin-token             the server of the current context
  skyctl logout                                        forgets the token

The token is checked with the server before anything is kept. It is kept in the file of contexts, which only you
can read; `skyctl tokens create` makes tokens.";

const LOGOUT_EXAMPLES: &str = "\
Examples:
  skyctl logout
  skyctl logout prod

The token stays valid for whoever has it; `skyctl tokens revoke` ends it.";

/// Arguments of `login`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Address of the server [default: --url, else the context's; else asks]
    #[arg(value_name = "URL")]
    pub address: Option<String>,
    /// Name of the context [default: that of this address, else its host]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Read the token from the standard input
    #[arg(long)]
    pub token_stdin: bool,
}

/// Arguments of `logout`.
#[derive(Debug, clap::Args)]
#[command(after_help = LOGOUT_EXAMPLES)]
pub struct LogoutArgs {
    /// Context [default: the current one]
    #[arg(value_name = "CONTEXT")]
    pub name: Option<String>,
}

/// Runs `login`.
///
/// # Errors
/// Also when the server does not know the token; nothing is kept then.
pub async fn run(args: Args, globals: &Globals) -> Result<()> {
    let path = Config::path()?;
    let mut config = Config::load(&path)?;
    let given = globals.given()?;
    let chosen = args.name.or_else(|| given.context.clone());
    if let Some(name) = &chosen {
        check_name(name)?;
    }
    let known = chosen.as_ref().or(config.current_context.as_ref()).and_then(|name| config.contexts.get(name));
    let fallback = known.and_then(|context| context.url.clone());
    let url = address(args.address.or(given.url), fallback)?;
    // Before the token is asked for: an address that is none needs none.
    let target = |token| Target { url: url.clone(), token, explicit_org: given.org.clone(), context_org: None };
    Client::new(&target(None))?;
    warn_of_plain_text(&url);
    let token = token(args.token_stdin, given.token.clone())?;
    let client = Client::new(&target(Some(token.clone())))?;
    let whoami: WhoAmI = client.get(routes::WHOAMI, &[]).await?;
    if let Some(org) = &given.org {
        client.get::<serde_json::Value>(&routes::object(api_types::Kind::Organization, org, org.as_str()), &[]).await?;
    }
    let name = chosen.unwrap_or_else(|| name_for(&url, &config));
    let context = config.contexts.entry(name.clone()).or_default();
    *context = Context { url: Some(url.clone()), token: Some(token.expose_secret().to_owned()), org: given.org.or(context.org.take()) };
    config.current_context = Some(name.clone());
    config.save(&path)?;
    output::line(&super::whoami::sentence(&whoami, &client.url()))?;
    output::line(&format!("the context is now {name}"))?;
    if Globals::environment_decides() {
        output::note("note: SKYSWARM_URL and SKYSWARM_TOKEN, while they are set, win over the context\n");
    }
    Ok(())
}

/// Runs `logout`.
///
/// # Errors
/// When there is no such context.
pub fn logout(args: LogoutArgs, globals: &Globals) -> Result<()> {
    let path = Config::path()?;
    let mut config = Config::load(&path)?;
    let name = args.name.or(globals.given()?.context).or_else(|| config.current_context.clone());
    let name = name.ok_or_else(|| CliError::Usage("there is no current context; name one: skyctl logout NAME".to_owned()))?;
    let Some(context) = config.contexts.get_mut(&name) else { return Err(config.unknown(&name)) };
    let had = context.token.take().is_some();
    config.save(&path)?;
    output::line(&if had { format!("the token of {name} is forgotten") } else { format!("{name} had no token") })
}

fn address(named: Option<String>, fallback: Option<String>) -> Result<String> {
    let text = match named {
        Some(url) => url,
        None if input::is_terminal() => {
            let default = fallback.unwrap_or_else(|| DEFAULT_URL.to_owned());
            let answer = input::asked(&format!("Address of the server [{default}]: "))?;
            if answer.is_empty() { default } else { answer }
        }
        None => fallback.ok_or_else(|| CliError::Usage("which server? skyctl login URL".to_owned()))?,
    };
    // People leave the scheme out; what is guessed is the safe one, except on this machine.
    if text.contains("://") {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    let local = ["localhost", "127.", "[::1]"].iter().any(|start| text.starts_with(start));
    Ok(format!("{}://{}", if local { "http" } else { "https" }, text.trim_end_matches('/')))
}

fn token(from_stdin: bool, given: Option<SecretString>) -> Result<SecretString> {
    let text = match (from_stdin, given) {
        (true, _) => input::stdin()?,
        (false, Some(token)) => return Ok(token),
        (false, None) if input::is_terminal() => input::hidden("Token: ")?,
        (false, None) => return Err(CliError::Usage("there is no terminal to ask for the token; use --token-stdin".to_owned())),
    };
    let text = text.trim();
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(CliError::Usage("a token is one word".to_owned()));
    }
    Ok(SecretString::from(text))
}

fn warn_of_plain_text(url: &str) {
    if let Ok(url) = Url::parse(url)
        && url.scheme() == "http"
        && !crate::client::is_loopback(&url)
    {
        output::note("warning: http:// sends the token readable for everybody on the way; use https:// if the server has it\n");
    }
}

/// The context that has this address already, else a new one named after the host.
fn name_for(url: &str, config: &Config) -> String {
    let same = |context: &Context| context.url.as_deref().is_some_and(|known| known.trim_end_matches('/') == url);
    if let Some((name, _)) = config.contexts.iter().find(|(_, context)| same(context)) {
        return name.clone();
    }
    let parsed = Url::parse(url).ok();
    let host = parsed.as_ref().and_then(|url| url.host_str()).unwrap_or("default");
    let wanted = match parsed.as_ref().and_then(Url::port) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    // The name may be in use for another address, such as one with a path.
    let numbered = (2..).map(|n| format!("{wanted}-{n}"));
    std::iter::once(wanted.clone()).chain(numbered).find(|name| !config.contexts.contains_key(name)).unwrap_or(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_is_guessed_safely() {
        for (given, wanted) in [
            ("sky.example.com", "https://sky.example.com"),
            ("localhost:7070/", "http://localhost:7070"),
            ("127.0.0.1:7070", "http://127.0.0.1:7070"),
            ("http://sky.example.com/", "http://sky.example.com"),
        ] {
            assert_eq!(address(Some(given.to_owned()), None).expect("an address"), wanted);
        }
    }

    #[test]
    fn a_second_login_changes_the_context_of_that_address() {
        let context = |url: &str| Context { url: Some(url.to_owned()), ..Context::default() };
        let contexts = [("prod".to_owned(), context("https://a.example/")), ("b.example".to_owned(), context("https://b.example/x"))];
        let config = Config { current_context: None, contexts: contexts.into() };
        assert_eq!(name_for("https://a.example", &config), "prod");
        assert_eq!(name_for("https://b.example", &config), "b.example-2");
        assert_eq!(name_for("http://127.0.0.1:7070", &config), "127.0.0.1:7070");
    }
}
