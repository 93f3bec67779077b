//! What a package would do on this machine: `unpack` carries it out, `package plan` shows it.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::keys::trusted_keys;
use super::place::{explain, open, place_of};
use crate::cli::commands::sites::{Carrier, keeps_something, tables};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Output;
use crate::cli::text::table::time;
use crate::manifest::{ComingFiles, Manifest};
use crate::packages::{
    PackageIndex, PackageReader, PackagesError, ProjectFiles, PublicKey, TrustedKeys, Verdict, plan_unpack,
};
use crate::report::{Listed, Message, Told as _};
use crate::sites::{
    ImageResult, InventoryRequest, PlanOptions, ProjectPlace, TransferPlan, collect_inventory_with, shown,
};
use crate::state::newest_release;

/// What a package is, and what it would do.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PlannedPackage {
    /// The digest of the package's index: its identity.
    pub package: String,
    pub project: String,
    pub release: Option<String>,
    pub created: String,
    /// The ID of the key that signed it and that this machine trusts; null where none does.
    pub key: Option<String>,
    /// The IDs of keys that it revokes, where this machine trusts the key that signed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revokes: Vec<String>,
    /// Where it would write outside of the project's folder: the image store and the places of seeds, as the manifest that comes says
    /// them; not those that the manifest here says, too, and where something is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<String>,
    /// The newest release that was unpacked here before, where it is newer than this one: `unpack` needs `--allow-older` then.
    pub newer: Option<NewerRelease>,
    pub plan: TransferPlan,
}

/// A release that was unpacked before one that is older.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NewerRelease {
    /// Null for what was packed without a release.
    pub release: Option<String>,
    pub created: String,
}

/// What is asked of a package.
pub struct Question<'a> {
    pub files: &'a [PathBuf],
    /// The project's folder on this machine, where it is named.
    pub folder: Option<&'a Path>,
    pub options: PlanOptions,
    /// Whether a release may be older than one before, which is said then.
    pub allow_older: bool,
}

/// A package, and the machine that it has come to.
pub struct Looked {
    pub reader: PackageReader,
    /// Its files of the project.
    pub files: ProjectFiles,
    pub place: ProjectPlace,
    /// Where the manifest is, or will be.
    pub manifest: PathBuf,
    /// Whether there is a project by now.
    pub has_project: bool,
    /// The project as it will be.
    pub project: Project,
    pub keys: TrustedKeys,
    pub verdict: Verdict,
    pub planned: PlannedPackage,
}

impl Question<'_> {
    /// Looks at the package and at this machine, and changes nothing.
    pub fn look(&self, session: &mut Session) -> Result<Looked, Failure> {
        let in_parts = |error| explain(error, self.files);
        let mut reader = open(self.files)?;
        let index = reader.index.clone();
        let place = place_of(&index, self.folder, session)?;
        let manifest = place.folder.join(place.manifest.as_deref().unwrap_or_default());
        let keys = trusted_keys(&place.folder, Some(&manifest), session)?;
        let verdict = judge(&reader, &keys).map_err(in_parts)?;
        let here = place.read_manifest_with(&ComingFiles::default()).and_then(Result::ok);
        let here = here.map(|loaded| loaded.manifest);
        if let Some(here) = here.as_ref().map(|here| &here.project).filter(|here| **here != index.project) {
            return Err(PackagesError::OtherProject { package: index.project, here: here.clone() }.into());
        }
        let mut files = ProjectFiles::read(&mut reader).map_err(in_parts)?;
        let coming = files.coming(&place, &index.files, self.options);
        let Some(loaded) = place.read_manifest_with(&coming) else {
            return Err(PackagesError::NoManifest { folder: place.folder.display().to_string() }.into());
        };
        let project = session.coming_project(&manifest, loaded?);
        // Before what the machine lacks of it, which it need not know.
        let newer = newer_than(&reader, &project)?;
        if let Some(newer) = &newer {
            let older = older(&reader, newer);
            match self.allow_older {
                true => session.output.warn(&message!("package-older", why = older.message())),
                false => return Err(older.into()),
            }
        }
        let paths = index.files.iter().map(|file| file.path.clone()).collect();
        let seeds = !index.seeds.is_empty();
        let request = InventoryRequest { project: place.clone(), files: paths, seeds, ..InventoryRequest::default() };
        let inventory = session.wait_for(async { Ok(collect_inventory_with(&request, &coming).await) })?;
        if let Some(why) = inventory.store.problem() {
            return Err(PackagesError::Receive { why: message!("words", text = shown(why)) }.into());
        }
        let plan = plan_unpack(&index, &inventory, self.options)?;
        // What nobody brought here may be replaced then, wherever it is.
        let known = here.as_ref().filter(|_| !self.options.overwrite);
        let planned = PlannedPackage {
            package: reader.digest().to_string(),
            project: index.project.clone(),
            release: index.release.clone(),
            created: index.created.clone(),
            key: key_of(&verdict),
            revokes: revoked_by(&index, &verdict),
            outside: outside_of(&place.folder, (project.manifest(), known), &plan),
            newer,
            plan,
        };
        Ok(Looked { reader, files, place, manifest, has_project: here.is_some(), project, keys, verdict, planned })
    }
}

/// The newest release that was unpacked before, where it is newer than this one.
fn newer_than(reader: &PackageReader, project: &Project) -> Result<Option<NewerRelease>, Failure> {
    let at = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let newest = newest_release(&project.state())?.filter(|newest| at(&reader.index.created) < at(&newest.created));
    Ok(newest.map(|newest| NewerRelease { release: newest.release, created: newest.created }))
}

/// An older release over a newer one is somebody's decision.
fn older(reader: &PackageReader, newer: &NewerRelease) -> PackagesError {
    let index = &reader.index;
    PackagesError::Older {
        release: index.release.clone().unwrap_or_else(|| index.created.clone()),
        created: index.created.clone(),
        newest: newer.release.clone().unwrap_or_else(|| newer.created.clone()),
        newest_created: newer.created.clone(),
    }
}

/// What the signature of a package is worth here.
fn judge(reader: &PackageReader, keys: &TrustedKeys) -> Result<Verdict, PackagesError> {
    let said = reader.index.key.as_deref().map(PublicKey::parse).transpose()?;
    keys.judge(&reader.index_bytes, reader.signature.as_deref(), said.as_ref())
}

/// The IDs of the keys that a package revokes here; none revokes its own.
fn revoked_by(index: &PackageIndex, verdict: &Verdict) -> Vec<String> {
    if key_of(verdict).is_none() {
        return Vec::new();
    }
    let others = index.revokes.iter().filter(|text| Some(*text) != index.key.as_ref());
    others.filter_map(|text| PublicKey::parse(text).ok()).map(|key| key.id()).collect()
}

/// Where images and seeds would be written outside of the project's folder, by the manifest that comes. A place that the manifest here
/// names as well is known where something is there: the manifest may have come in such a package, too.
fn outside_of(folder: &Path, (coming, here): (&Manifest, Option<&Manifest>), plan: &TransferPlan) -> Vec<String> {
    let seed_of = |manifest: &Manifest, database: &str| -> Option<PathBuf> {
        manifest.databases.get(database).and_then(|database| database.seed.clone())
    };
    let mut places: Vec<PathBuf> = Vec::new();
    let mut add = |place: Option<PathBuf>, known: Option<PathBuf>| {
        places.extend(place.filter(|place| known.as_ref() != Some(place) || !place.exists()));
    };
    if plan.images.iter().any(|image| image.result == ImageResult::Sent) {
        add(coming.paths.images.clone(), here.and_then(|here| here.paths.images.clone()));
    }
    for seed in plan.seeds.iter().filter(|seed| seed.result.is_sent()) {
        add(seed_of(coming, &seed.database), here.and_then(|here| seed_of(here, &seed.database)));
    }
    let real = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    places.retain(|place| !place.starts_with(folder) && !place.starts_with(&real));
    places.iter().map(|place| place.display().to_string()).collect()
}

fn key_of(verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::Trusted(key) => Some(key.id()),
        Verdict::Unknown(_) | Verdict::Unsigned => None,
    }
}

/// Says by whom a package is.
pub fn say_verdict(verdict: &Verdict, session: &Session) {
    session.output.say(&match verdict {
        Verdict::Trusted(key) => message!("package-signed-trusted", id = key.id()),
        Verdict::Unknown(key) => message!("package-signed-unknown", id = key.id(), key = key.text()),
        Verdict::Unsigned => message!("package-unsigned"),
    });
}

impl PlannedPackage {
    /// As people read it; `more` lines stand behind the tables.
    pub fn text(&self, more: &str, output: &Output) -> String {
        let mut text = tables(&self.plan, Carrier::Package, output);
        text.push_str(more);
        let mut say = |message: Message| {
            text.push_str(&output.catalogue.text(&message));
            text.push('\n');
        };
        if keeps_something(&self.plan) {
            say(message!("unpack-kept-why"));
        }
        let (project, created) = (shown(&self.project), time(&self.created));
        say(match &self.release {
            Some(release) => message!("unpack-release", project = project, release = release, created = created),
            None => message!("unpack-no-release", project = project, created = created),
        });
        let deltas = &self.plan.deltas;
        if !deltas.is_empty() {
            let bytes: u64 = deltas.iter().map(|delta| delta.bytes).sum();
            let whole: u64 = deltas.iter().map(|delta| delta.whole_bytes).sum();
            say(message!("unpack-deltas", layers = deltas.len(), bytes = bytes, whole = whole));
        }
        for need in &self.plan.space {
            let folder = shown(&need.folder);
            say(match need.free {
                Some(free) => message!("unpack-space", folder = folder, needed = need.needed, free = free),
                None => message!("unpack-space-unknown", folder = folder, needed = need.needed),
            });
        }
        if !self.outside.is_empty() {
            say(message!("unpack-outside", places = Listed::of(self.outside.iter().map(|place| shown(place)))));
        }
        if !self.revokes.is_empty() {
            say(message!("unpack-revokes", keys = Listed::of(&self.revokes)));
        }
        text
    }
}
