//! JSON Schemas of the kinds, for editors and for [`crate::check`].

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::kinds::Kind;

/// The JSON Schema (draft 2020-12) of a kind's manifest.
pub fn of_kind(kind: Kind) -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let schema = match kind {
        Kind::Organization => generator.into_root_schema_for::<crate::Organization>(),
        Kind::App => generator.into_root_schema_for::<crate::App>(),
        Kind::Domain => generator.into_root_schema_for::<crate::Domain>(),
        Kind::Node => generator.into_root_schema_for::<crate::Node>(),
        Kind::Setting => generator.into_root_schema_for::<crate::Setting>(),
    };
    schema.to_value()
}
