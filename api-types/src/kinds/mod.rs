//! One file per kind. Every object has the same shape: `apiVersion`, `kind`, `metadata`, `spec`, `status`.

pub mod app;
pub mod certificate;
pub mod domain;
pub mod edge;
pub mod node;
pub mod organization;
pub mod setting;

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::ParseError;

/// The kinds of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// A tenant.
    Organization,
    /// An app.
    App,
    /// A host name routed to an app.
    Domain,
    /// A machine of the Swarm, observed.
    Node,
    /// A platform setting.
    Setting,
    /// A TLS certificate of the edge.
    Certificate,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 6] = [Self::Organization, Self::App, Self::Domain, Self::Node, Self::Setting, Self::Certificate];
    /// The kind's word, as in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Organization => "Organization",
            Self::App => "App",
            Self::Domain => "Domain",
            Self::Node => "Node",
            Self::Setting => "Setting",
            Self::Certificate => "Certificate",
        }
    }
    /// The word in paths and on the command line.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Organization => "orgs",
            Self::App => "apps",
            Self::Domain => "domains",
            Self::Node => "nodes",
            Self::Setting => "settings",
            Self::Certificate => "certificates",
        }
    }
    /// Whether objects of this kind belong to an organisation.
    pub fn is_namespaced(self) -> bool {
        matches!(self, Self::App | Self::Domain)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let lower = text.to_ascii_lowercase();
        let found = Self::ALL.into_iter().find(|kind| {
            let word = kind.as_str().to_ascii_lowercase();
            lower == word || lower == kind.plural() || lower == format!("{word}s") || (lower == "org" && *kind == Self::Organization)
        });
        found.ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|kind| kind.plural()).collect();
            ParseError(format!("there is no kind \"{}\"; known are {}", crate::name::excerpt(text), known.join(", ")))
        })
    }
}

/// Declares an object type: the five fields that every kind has.
macro_rules! object {
    ($(#[$doc:meta])* $name:ident, $tag:ident, $spec:ty, $status:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            /// API version.
            pub api_version: $crate::meta::ApiVersion,
            /// The kind's word.
            pub kind: $tag,
            /// Identity and versions.
            pub metadata: $crate::meta::ObjectMeta,
            /// What the user wants.
            pub spec: $spec,
            /// What was observed. Ignored in a manifest.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub status: Option<$status>,
        }

        /// The one value of `kind` for this type.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub enum $tag {
            /// The kind's word.
            #[default]
            $name,
        }

        impl $name {
            /// An object without a status.
            pub fn new(metadata: $crate::meta::ObjectMeta, spec: $spec) -> Self {
                Self { api_version: $crate::meta::ApiVersion::V1, kind: $tag::default(), metadata, spec, status: None }
            }
        }
    };
}
pub(crate) use object;

/// Any object that a user may apply.
#[derive(Debug, Clone, PartialEq)]
pub enum Manifest {
    /// A tenant.
    Organization(organization::Organization),
    /// An app.
    App(Box<app::App>),
    /// A domain of an app.
    Domain(domain::Domain),
    /// A setting.
    Setting(setting::Setting),
    /// A certificate.
    Certificate(certificate::Certificate),
}

impl Manifest {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Organization(_) => Kind::Organization,
            Self::App(_) => Kind::App,
            Self::Domain(_) => Kind::Domain,
            Self::Setting(_) => Kind::Setting,
            Self::Certificate(_) => Kind::Certificate,
        }
    }
    /// Its metadata.
    pub fn metadata(&self) -> &crate::meta::ObjectMeta {
        match self {
            Self::Organization(o) => &o.metadata,
            Self::App(o) => &o.metadata,
            Self::Domain(o) => &o.metadata,
            Self::Setting(o) => &o.metadata,
            Self::Certificate(o) => &o.metadata,
        }
    }
    /// Its metadata, to fill in the organisation of a context.
    pub fn metadata_mut(&mut self) -> &mut crate::meta::ObjectMeta {
        match self {
            Self::Organization(o) => &mut o.metadata,
            Self::App(o) => &mut o.metadata,
            Self::Domain(o) => &mut o.metadata,
            Self::Setting(o) => &mut o.metadata,
            Self::Certificate(o) => &mut o.metadata,
        }
    }
}
