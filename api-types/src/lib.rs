//! The objects of the Skyswarm API: desired state, status, events and errors.
//!
//! This crate is what clients, the server and editors agree on. It does no I/O and knows no engine:
//! everything here is data, parsing and pure validation. Every string that a user gives has a newtype
//! whose constructor is the only way in, so code behind the API never meets an unchecked value.

pub mod api;
pub mod check;
pub mod condition;
pub mod diff;
pub mod draft;
pub mod drift;
pub mod duration;
pub mod event;
pub mod explain;
pub mod image;
pub mod kinds;
pub mod meta;
pub mod name;
pub mod platform;
pub mod problem;
pub mod quantity;
pub mod schema;
pub mod secret;
pub mod selector;
pub mod token;
pub mod usage;
pub mod why;

pub use condition::{Condition, ConditionStatus, ConditionType, Reason};
pub use duration::{HumanDuration, Lifetime};
pub use image::ImageRef;
pub use kinds::app::{App, AppSpec, AppStatus};
pub use kinds::certificate::{Certificate, CertificateSpec, CertificateStatus};
pub use kinds::domain::{Domain, DomainSpec, DomainStatus};
pub use kinds::node::{Node, NodeSpec, NodeStatus};
pub use kinds::organization::{Organization, OrganizationSpec, OrganizationStatus};
pub use kinds::setting::{Setting, SettingSpec, SettingStatus};
pub use kinds::{Kind, Manifest};
pub use meta::ObjectMeta;
pub use name::{AppName, CertificateName, EnvKey, Host, LabelKey, OrgName, ProcessName, SettingKey};
pub use problem::{FieldError, Problem};
pub use quantity::{Cpu, Memory};
pub use secret::SecretValue;

/// The only API group and version served today.
pub const API_VERSION: &str = "skyswarm.dev/v1";
