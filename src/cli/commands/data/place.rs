//! Where the repository lies, and what the manifest says of data folders.

use std::path::PathBuf;

use clap::Args;

use crate::cli::session::Project;
use crate::cli::session::operations::path;
use crate::cli::text::failure::Failure;
use crate::folders::{Access, DataFolder, Keep, Store};
use crate::manifest::model::SecretSource;
use crate::services::read_secret;

#[derive(Debug, Args)]
pub struct DataTargets {
    /// A manifest (.json), and data folders in it, by name or number
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
}

/// The repository's folder.
pub fn repository_folder(project: &Project) -> Result<PathBuf, Failure> {
    Ok(path(project.manifest().paths.backups.as_deref(), "backups")?.join("data"))
}

/// Where the repository's password is kept.
pub fn password_source(project: &Project) -> Result<&SecretSource, Failure> {
    let repository = project.manifest().repository.as_ref();
    let missing = || Failure::usage_with_hint(message!("usage-no-repository"), message!("hint-add-repository"));
    repository.map(|repository| &repository.password).ok_or_else(missing)
}

/// Opens the project's repository.
pub fn open(project: &Project, access: Access) -> Result<Store, Failure> {
    let folder = repository_folder(project)?;
    let source = password_source(project)?;
    if !crate::folders::exists(&folder) {
        return Err(crate::folders::FoldersError::NoRepository { path: folder }.into());
    }
    let password = read_secret("repository.password", source).map_err(|error| Failure::Work(Box::new(error)))?;
    Ok(Store::open(&folder, &password, access)?)
}

/// The data folders of these names.
pub fn folders(project: &Project, names: &[String]) -> Result<Vec<DataFolder>, Failure> {
    names.iter().map(|name| folder(project, name)).collect()
}

/// The data folder of that name.
pub fn folder(project: &Project, name: &str) -> Result<DataFolder, Failure> {
    let manifest = project.manifest();
    let data = manifest.data.get(name);
    let data = data.ok_or_else(|| Failure::usage(message!("usage-no-data-folder", name = name)))?;
    Ok(DataFolder {
        name: name.to_owned(),
        project: manifest.project.clone(),
        path: data.path.clone(),
        exclude: data.exclude.clone(),
        one_file_system: data.one_file_system,
        keep: Keep {
            last: data.keep.last,
            daily: data.keep.daily,
            weekly: data.keep.weekly,
            monthly: data.keep.monthly,
        },
    })
}
