//! `skyctl settings`

use api_types::{Kind, OrgName, SettingSpec};
use clap::Subcommand;
use serde_json::Value;

use super::get::{Shape, rendered};
use super::{Session, items, typed};
use crate::client::routes;
use crate::errors::Result;
use crate::output::kinds::value as plain;
use crate::output::{self, Format};

const EXAMPLES: &str = "\
Examples:
  skyctl settings list -o wide
  skyctl settings get edge.default_domain
  skyctl settings set edge.default_domain apps.example.com
  skyctl settings reset edge.default_domain";

const LIST_EXAMPLES: &str = "\
Examples:
  skyctl settings list
  skyctl settings list -o wide      with types, defaults and what each is for";

const GET_EXAMPLES: &str = "\
Examples:
  skyctl settings get edge.default_domain
  skyctl settings get edge.default_domain -o wide      and what it is for";

const SET_EXAMPLES: &str = "\
Examples:
  skyctl settings set edge.default_domain apps.example.com
  skyctl settings set edge.certificate_warning 20d

A value of the wrong type is refused, and the setting stays as it is.";

const RESET_EXAMPLES: &str = "\
Examples:
  skyctl settings reset edge.default_domain";

/// Arguments of `settings`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show all settings
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Form of the answer
        #[arg(short, long, value_name = "FORM", default_value = "table")]
        output: Format,
    },
    /// Show one setting's value; -o wide explains it
    #[command(after_help = GET_EXAMPLES)]
    Get {
        /// Key
        #[arg(value_name = "SETTING")]
        key: String,
        /// Form of the answer
        #[arg(short, long, value_name = "FORM")]
        output: Option<Format>,
    },
    /// Change a setting
    #[command(after_help = SET_EXAMPLES)]
    Set {
        /// Key
        #[arg(value_name = "SETTING")]
        key: String,
        /// Value; text, number or true/false, as the setting's type wants it
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Go back to the default
    #[command(after_help = RESET_EXAMPLES)]
    Reset {
        /// Key
        #[arg(value_name = "SETTING")]
        key: String,
    },
}

/// Runs the verb.
///
/// # Errors
/// See [`crate::errors::CliError`].
pub async fn run(session: &Session, args: Args) -> Result<()> {
    let org = session.org_for(Kind::Setting).await?;
    match args.what {
        What::List { output: format } => {
            let list: Value = session.client.get(routes::SETTINGS, &[]).await?;
            let list: Vec<Value> = items(&list).cloned().collect();
            output::print(&rendered(Kind::Setting, &list, Shape::new(format, false))?)
        }
        What::Get { key, output: format } => {
            let object = session.object(Kind::Setting, &org, &key).await?;
            match format {
                Some(format) => output::print(&rendered(Kind::Setting, &[object], Shape::new(format, true))?),
                None => output::line(&plain(object.pointer("/spec/value").unwrap_or(&Value::Null))),
            }
        }
        What::Set { key, value } => {
            let setting = set(session, &org, &key, &value).await?;
            output::line(&format!("setting/{key} = {}", plain(&setting.spec.value)))
        }
        What::Reset { key } => {
            let path = routes::object(Kind::Setting, &org, &key);
            if let Err(error) = session.client.delete(&path).await {
                return Err(session.with_similar(error, Kind::Setting, &org, &key).await);
            }
            let object = session.object(Kind::Setting, &org, &key).await?;
            output::line(&format!("setting/{key} = {} (default)", plain(object.pointer("/spec/value").unwrap_or(&Value::Null))))
        }
    }
}

/// The setting's own type decides whether `30` is text or a number.
async fn set(session: &Session, org: &OrgName, key: &str, text: &str) -> Result<api_types::Setting> {
    let current: api_types::Setting = typed(&session.object(Kind::Setting, org, key).await?)?;
    let wanted = current.status.as_ref().map(|status| status.value_type.as_str()).unwrap_or_default();
    let parsed = match wanted {
        "integer" | "boolean" => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
        _ => Value::from(text),
    };
    let body = SettingSpec { value: parsed };
    session.client.put(&routes::object(Kind::Setting, org, key), &body).await
}
