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
        Kind::Certificate => generator.into_root_schema_for::<crate::Certificate>(),
    };
    schema.to_value()
}

/// Name of the file that a kind's schema is kept in, under `docs/schema/`.
pub fn file_name(kind: Kind) -> String {
    format!("{}.json", kind.as_str().to_ascii_lowercase())
}

/// What is in that file.
pub fn file_text(kind: Kind) -> String {
    format!("{:#}\n", of_kind(kind))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_files_in_docs_are_those_of_the_types() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema");
        for kind in Kind::ALL {
            let path = folder.join(file_name(kind));
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(kept == file_text(kind), "{} is old; run ./dev generate", path.display());
        }
    }
}
