//! `schema`: JSON Schemas of the manifest and of every document that `--json` prints.

use clap::Args;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::chain;
use super::check;
use super::doctor;
use super::history;
use super::listing;
use super::lock;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::cli::text::progress;
use crate::manifest::{SitesDocument, manifest_schema, nearest};
use crate::report::Listed;
use crate::{databases, images, services};

#[derive(Debug, Args)]
pub struct SchemaArguments {
    /// The document whose schema is printed
    #[arg(default_value = "manifest")]
    pub document: String,
}

type MakeSchema = fn() -> Value;

/// Name and maker of each schema; `schema/<name>.schema.json` is what each gives.
const SCHEMAS: &[(&str, MakeSchema)] = &[
    ("manifest", manifest_schema),
    ("sites", sites_schema),
    ("sites-report", document::<super::sites::SitesReport>),
    ("inventory", document::<crate::sites::Inventory>),
    ("inventory-short", document::<crate::sites::ShortInventory>),
    ("fetch", document::<super::sites::FetchReport>),
    ("send", document::<super::sites::SendReport>),
    ("release", document::<crate::packages::Release>),
    ("release-list", document::<super::packages::ReleasesReport>),
    ("release-diff", document::<crate::packages::ReleaseDiff>),
    ("pack", document::<super::packages::PackReport>),
    ("unpack", document::<super::packages::UnpackReport>),
    ("receipt", document::<super::packages::ReceiptsReport>),
    ("keys", document::<super::packages::KeysReport>),
    ("package", document::<super::packages::PackageReport>),
    ("package-plan", document::<super::packages::PackagePlanReport>),
    ("runs", document::<Vec<crate::sites::RunSummary>>),
    ("check", document::<check::CheckReport>),
    ("list", document::<listing::ListReport>),
    ("do", document::<chain::ChainReport>),
    ("doctor", document::<doctor::DoctorReport>),
    ("save", document::<images::SaveReport>),
    ("save-plan", document::<images::SavePlan>),
    ("load", document::<images::LoadReport>),
    ("load-plan", document::<images::LoadPlan>),
    ("images-list", document::<images::ImageList>),
    ("images-verify", document::<images::VerifyReport>),
    ("images-repair", document::<images::RepairReport>),
    ("images-prune", document::<images::PruneReport>),
    ("images-prune-engine", document::<images::EnginePruneReport>),
    ("images-import", document::<images::ImportReport>),
    ("images-export", document::<images::ExportReport>),
    ("images-remove", document::<images::RemoveReport>),
    ("plan", document::<services::Plan>),
    ("services", document::<services::ServicesReport>),
    ("status", document::<services::StatusReport>),
    ("stats", document::<services::StatsReport>),
    ("graph", document::<services::DependencyGraph>),
    ("logs", document::<services::ServiceLogLine>),
    ("db-list", document::<databases::DatabasesDocument>),
    ("db-backup", document::<databases::BackupsDocument>),
    ("data-init", document::<super::data::InitReport>),
    ("data-list", document::<crate::folders::DataDocument>),
    ("data-snapshot", document::<crate::folders::SnapshotsDocument>),
    ("data-diff", document::<crate::folders::DiffDocument>),
    ("data-restore", document::<crate::folders::RestoreDocument>),
    ("data-verify", document::<crate::folders::DataVerifyDocument>),
    ("data-prune", document::<crate::folders::DataPruneDocument>),
    ("lock", document::<lock::LockReport>),
    ("db-verify", document::<databases::VerifiesDocument>),
    ("db-prune", document::<databases::PruneDocument>),
    ("db-sql", document::<super::databases::SqlReport>),
    ("progress", document::<progress::ProgressLine>),
    ("history", document::<history::HistoryReport>),
    ("rollback-plan", document::<super::services::RollbackPlan>),
    ("db-rebuild", document::<databases::RebuildsDocument>),
    ("db-rollback", document::<databases::RollbacksDocument>),
    ("db-leftovers", document::<super::databases::LeftoversDocument>),
];

/// The documents that have a schema.
pub fn names() -> impl Iterator<Item = &'static str> {
    SCHEMAS.iter().map(|(name, _)| *name)
}

/// `dpl schema [DOCUMENT]`.
pub fn print(arguments: &SchemaArguments, session: &mut Session) -> Result<u8, Failure> {
    let Some((_, schema)) = SCHEMAS.iter().find(|(name, _)| *name == arguments.document) else {
        let names: Vec<&str> = names().collect();
        let hint = match nearest(&arguments.document, names.iter().copied()) {
            Some(meant) => message!("hint-did-you-mean", meant = meant),
            None => message!("hint-one-of", names = Listed::of(&names)),
        };
        return Err(Failure::usage_with_hint(message!("usage-no-document", name = &arguments.document), hint));
    };
    session.output.document(&schema())?;
    Ok(0)
}

/// Of `sites.json`, which is read.
fn sites_schema() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<SitesDocument>().to_value()
}

/// What is printed, not what would be read: a field that may be left out is not required.
fn document<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>().to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `DPL_WRITE_SCHEMAS=1 cargo test --lib the_schemas_in_the_folder` writes them again.
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
