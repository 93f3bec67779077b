//! Receiving a package: the plan of a transfer, and the receiving side fed from a file.
//!
//! `project_files` are those that come first, `feeding` hands entries to the receiving side, `rebuilding` makes layers of deltas that have
//! arrived. What the machine lacks is found out before anything is written; what comes has its name only when all of it has passed its
//! digest; what has come in part stays for the next time.

mod feeding;
mod project_files;
mod rebuilding;

use std::collections::HashSet;
use std::path::Path;

use self::feeding::Feed;
use self::rebuilding::{Rebuilding, RebuildingPlace};
use super::PackagesError;
use super::format::{Namespace, PackageIndex, PackageReader};
use crate::failpoint;
use crate::fs::Digest;
use crate::report::{Activity, Reporter};
use crate::sites::{
    FileResult, FromReceiver, ImageResult, Inventory, PlanOptions, ProjectFile, ProjectPlace, Recorded, Target,
    ToReceiver, TransferPlan, plan_transfer,
};

pub(super) use feeding::SMALL_BYTES;
pub use project_files::ProjectFiles;

/// What came of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Files that were put in place.
    pub placed: Vec<String>,
    /// Files that somebody changed meanwhile, and that stay.
    pub kept: Vec<String>,
    /// Images that have their name now.
    pub named: Vec<String>,
    /// Layers that were rebuilt of deltas, each proved by its diff ID.
    pub rebuilt: u64,
    /// Databases whose seeds were put in place.
    pub seeds: Vec<String>,
    /// Bytes that were read of the package and taken.
    pub bytes: u64,
}

/// What is to be done with a package on the machine of an inventory.
///
/// # Errors
/// It is another project's; the machine lacks what the package takes for granted.
pub fn plan_unpack(
    index: &PackageIndex,
    inventory: &Inventory,
    options: PlanOptions,
) -> Result<TransferPlan, PackagesError> {
    if let Some(here) = inventory.project.as_ref().filter(|here| **here != index.project) {
        return Err(PackagesError::OtherProject { package: index.project.clone(), here: here.clone() });
    }
    let plan = plan_transfer(inventory, &index.offer(), options);
    let carried: HashSet<&str> = index.entries.iter().map(|entry| entry.name.as_str()).collect();
    let is_carried = |digest: &Digest| carried.contains(Namespace::Blob.name(digest).as_str());
    let lacking = plan.blobs.iter().filter(|blob| !is_carried(&blob.digest) && blob.arrived < blob.bytes);
    let lacking: HashSet<&Digest> = lacking.map(|blob| &blob.digest).collect();
    if !lacking.is_empty() {
        let lacks = |image: &&crate::images::OutgoingImage| {
            let documents = [&image.config.digest, &image.manifest.digest];
            documents.into_iter().chain(image.layers.iter().map(|layer| &layer.blob)).any(|blob| lacking.contains(blob))
        };
        let images = index.images.iter().filter(lacks).map(|image| image.reference.clone()).collect();
        return Err(PackagesError::Lacks { images, layers: lacking.len() });
    }
    let sent = plan.seeds.iter().filter(|seed| seed.result.is_sent());
    let databases: Vec<String> =
        sent.filter(|seed| index.needs.seeds.contains(&seed.database)).map(|seed| seed.database.clone()).collect();
    match databases.is_empty() {
        true => Ok(plan),
        false => Err(PackagesError::LacksSeeds { databases }),
    }
}

/// A package on its way into a project. All of it arrives before anything has its name; the manifest and the files that it reads are in
/// place last, so that no manifest is there without its images and seeds.
pub struct Unpacking<'a> {
    reader: &'a mut PackageReader,
    files: ProjectFiles,
    plan: &'a TransferPlan,
    place: ProjectPlace,
    unpacked: Unpacked,
}

impl<'a> Unpacking<'a> {
    /// `files` have been read from `reader`.
    pub fn new(
        reader: &'a mut PackageReader,
        files: ProjectFiles,
        plan: &'a TransferPlan,
        place: ProjectPlace,
    ) -> Self {
        Self { reader, files, plan, place, unpacked: Unpacked::default() }
    }

    /// Does all of it. `store` is the image store by the manifest that comes.
    ///
    /// # Errors
    /// The package can't be read, or is not what it says; something can't be received, rebuilt or put in place.
    pub async fn run(
        mut self,
        store: Option<&Path>,
        recorded: Recorded,
        reporter: &Reporter,
    ) -> Result<Unpacked, PackagesError> {
        let mut feed = Feed::new(self.place.clone(), recorded, reporter);
        let has_files = self.files_arrive(&mut feed).await?;
        self.contents_arrive(&mut feed, store, reporter).await?;
        self.unpacked.bytes = feed.bytes;
        failpoint!("packages.unpack.before-names");
        self.name_images(&mut feed).await?;
        self.place_seeds(&mut feed).await?;
        failpoint!("packages.unpack.before-files");
        if has_files {
            match feed.ask(ToReceiver::PlaceFiles).await? {
                FromReceiver::FilesPlaced { placed, kept } => {
                    (self.unpacked.placed, self.unpacked.kept) = (placed, kept)
                }
                other => return Err(feeding::unexpected(&other)),
            }
        }
        Ok(self.unpacked)
    }

    /// Files of the project arrive beside their places; whether there are any.
    async fn files_arrive(&mut self, feed: &mut Feed) -> Result<bool, PackagesError> {
        let mut has_files = false;
        for planned in self.plan.files.iter().filter(|file| file.result != FileResult::Kept) {
            let Some(file) = self.reader.index.files.iter().find(|file| file.path == planned.path) else { continue };
            let Some(entry) = self.files.entry(&file.digest) else { continue };
            let target = Target::Project(ProjectFile {
                path: file.path.clone(),
                private: file.private,
                executable: file.executable,
                replaces: planned.replaces.clone(),
            });
            feed.file(&mut self.files, &entry, target).await?;
            has_files = true;
        }
        Ok(has_files)
    }

    /// Blobs of images, deltas, which become layers in the image store, and files of seeds arrive, up to the end of the package.
    async fn contents_arrive(
        &mut self,
        feed: &mut Feed,
        store: Option<&Path>,
        reporter: &Reporter,
    ) -> Result<(), PackagesError> {
        let blobs: HashSet<&Digest> = self.plan.blobs.iter().map(|blob| &blob.digest).collect();
        let sent: Vec<_> = self.plan.seeds.iter().filter(|seed| seed.result.is_sent()).collect();
        let subject = self.reader.index.release.clone().unwrap_or_else(|| self.reader.index.project.clone());
        let mut rebuilding = self.rebuilding(store, reporter);
        let total = self.plan.blobs.iter().map(|blob| blob.bytes).sum::<u64>()
            + self.plan.deltas.iter().map(|delta| delta.bytes).sum::<u64>()
            + sent.iter().map(|seed| seed.bytes).sum::<u64>();
        reporter.began(Activity::ReadPackage, &subject, Some(total));
        feed.measure(reporter.meter(Activity::ReadPackage, &subject, Some(total)));
        loop {
            let entry = match self.reader.begin() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(error) => {
                    reporter.failed(Activity::ReadPackage, &subject, &error);
                    return Err(error);
                }
            };
            let delta = match entry.namespace() {
                Some(Namespace::Delta) => self.plan.deltas.iter().find(|delta| delta.digest == entry.digest),
                _ => None,
            };
            let targets: Vec<Target> = match entry.namespace() {
                Some(Namespace::Delta) if delta.is_some() => vec![Target::Images],
                Some(Namespace::Blob) if blobs.contains(&entry.digest) => vec![Target::Images],
                Some(Namespace::Seed) => {
                    let seeds = self.reader.index.seeds.iter();
                    let coming = seeds.filter(|seed| sent.iter().any(|planned| planned.database == seed.database));
                    let files = coming.flat_map(|seed| seed.files.iter().map(move |file| (seed, file)));
                    let these = files.filter(|(_, file)| file.digest == entry.digest);
                    let target = |(seed, file): (&super::ContentSeed, &super::SeedPart)| Target::Seeds {
                        database: seed.database.clone(),
                        seed: seed.digest.clone(),
                        path: file.path.clone(),
                    };
                    these.map(target).collect()
                }
                _ => Vec::new(),
            };
            failpoint!("packages.unpack.before-entry");
            let mut result = feed.entry(self.reader, &entry, targets).await;
            if let (Ok(()), Some(delta)) = (&result, delta) {
                result = match &mut rebuilding {
                    Some(rebuilding) => rebuilding.layer(delta).await,
                    None => Err(PackagesError::Receive { why: message!("usage-no-path", name = "images") }),
                };
                self.unpacked.rebuilt += u64::from(result.is_ok());
            }
            if let Err(error) = result {
                reporter.failed(Activity::ReadPackage, &subject, &error);
                return Err(error);
            }
        }
        reporter.done(Activity::ReadPackage, &subject, message!("package-arrived"));
        Ok(())
    }

    async fn place_seeds(&mut self, feed: &mut Feed) -> Result<(), PackagesError> {
        for seed in self.plan.seeds.iter().filter(|seed| seed.result.is_sent()) {
            failpoint!("packages.unpack.before-seed");
            let place = ToReceiver::PlaceSeed { database: seed.database.clone(), seed: seed.digest.clone() };
            match feed.ask(place).await? {
                FromReceiver::SeedPlaced { database } => self.unpacked.seeds.push(database),
                other => return Err(feeding::unexpected(&other)),
            }
        }
        Ok(())
    }

    fn rebuilding(&self, store: Option<&Path>, reporter: &Reporter) -> Option<Rebuilding<'a>> {
        let engine = self.place.variables.get("DOCKER_HOST").filter(|host| !host.is_empty()).cloned();
        let architecture = self.reader.index.architecture.clone();
        let place = RebuildingPlace { store: store?.to_owned(), architecture, engine };
        Some(Rebuilding::new(place, &self.plan.deltas, reporter))
    }

    async fn name_images(&mut self, feed: &mut Feed) -> Result<(), PackagesError> {
        let sent = self.plan.images.iter().filter(|image| image.result == ImageResult::Sent);
        let references: HashSet<&str> = sent.map(|image| image.reference.as_str()).collect();
        if references.is_empty() {
            return Ok(());
        }
        for image in self.reader.index.images.iter().filter(|image| references.contains(image.reference.as_str())) {
            feed.tell(ToReceiver::Image(Box::new(image.clone()))).await?;
        }
        match feed.ask(ToReceiver::NameImages).await? {
            FromReceiver::ImagesNamed { named, lacking, .. } => {
                self.unpacked.named = named;
                match lacking.is_empty() {
                    true => Ok(()),
                    // The engine, or the store, has lost something meanwhile.
                    false => {
                        let images = references.iter().map(|reference| (*reference).to_owned());
                        let named = &self.unpacked.named;
                        let images = images.filter(|image| !named.contains(image)).collect();
                        Err(PackagesError::Lacks { images, layers: lacking.len() })
                    }
                }
            }
            other => Err(feeding::unexpected(&other)),
        }
    }
}
