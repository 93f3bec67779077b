//! `schema`: JSON Schemas of the manifest and of every document that `--json` prints.

use schemars::{Schema, schema_for};
use serde_json::Value;

use super::arguments::SchemaArguments;
use super::failure::Failure;
use super::session::Session;
use super::{check, doctor, listing};
use crate::manifest::{manifest_schema, nearest};
use crate::{databases, images, services};

type Entry = (&'static str, fn() -> Value);

/// Name and maker of each schema; `schema/<name>.schema.json` is what each gives.
const SCHEMAS: [Entry; 16] = [
    ("manifest", manifest_schema),
    ("check", || value(schema_for!(check::CheckReport))),
    ("list", || value(schema_for!(listing::ListReport))),
    ("doctor", || value(schema_for!(doctor::DoctorReport))),
    ("save", || value(schema_for!(images::SaveReport))),
    ("save-plan", || value(schema_for!(images::SavePlan))),
    ("load", || value(schema_for!(images::LoadReport))),
    ("load-plan", || value(schema_for!(images::LoadPlan))),
    ("images-list", || value(schema_for!(images::ImageList))),
    ("images-verify", || value(schema_for!(images::VerifyReport))),
    ("plan", || value(schema_for!(services::Plan))),
    ("services", || value(schema_for!(services::ServicesReport))),
    ("status", || value(schema_for!(services::StatusReport))),
    ("db-list", || value(schema_for!(databases::DatabasesDocument))),
    ("db-backup", || value(schema_for!(databases::BackupsDocument))),
    ("db-rebuild", || value(schema_for!(databases::RebuildsDocument))),
];

/// `dpl schema [DOCUMENT]`.
pub fn print(arguments: &SchemaArguments, session: &mut Session) -> Result<u8, Failure> {
    let Some((_, schema)) = SCHEMAS.iter().find(|(name, _)| *name == arguments.document) else {
        let names: Vec<&str> = SCHEMAS.iter().map(|(name, _)| *name).collect();
        let hint = match nearest(&arguments.document, names.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("one of: {}", names.join(", ")),
        };
        return Err(Failure::usage_with_hint(format!("there is no document `{}`", arguments.document), hint));
    };
    session.output.document(&schema())?;
    Ok(0)
}

fn value(schema: Schema) -> Value {
    schema.to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `DPL_WRITE_SCHEMAS=1 cargo test --lib the_schemas_in_the_folder` writes them anew.
    #[test]
    fn the_schemas_in_the_folder_are_the_programs_own() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
        for (name, schema) in SCHEMAS {
            let text = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
            let path = folder.join(format!("{name}.schema.json"));
            if std::env::var_os("DPL_WRITE_SCHEMAS").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text, "{}", path.display());
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), SCHEMAS.len());
    }
}
