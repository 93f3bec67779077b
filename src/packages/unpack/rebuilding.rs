//! Rebuilding layers of deltas that have arrived: each layer that one is rebuilt from is proved first, and the layer itself before it
//! has a name.
//!
//! What a layer is rebuilt from lies on the store's disk in files without a name, which go with this process whatever ends it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::{Address, Engine};
use crate::failpoint;
use crate::fs::Digest;
use crate::images::{
    ImagesError, LayerIntake, OutgoingLayer, PlainLayer, blob_file, export_plain_layers, incoming_folder, plain_layer,
    store_layers,
};
use crate::packages::PackagesError;
use crate::packages::delta::{BaseLayer, DeltaError, Header, Wanted, apply};
use crate::report::{Activity, Meter, Reporter};
use crate::sites::{PlannedBase, PlannedDelta};

/// A save or a prune that is under way is waited for.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(200);

/// Where layers are rebuilt.
#[derive(Debug, Clone)]
pub(super) struct RebuildingPlace {
    /// The image store.
    pub store: PathBuf,
    /// Of the images.
    pub architecture: String,
    /// Where the engine is, if that is said.
    pub engine: Option<String>,
}

/// Rebuilds layers, one after the other.
pub(super) struct Rebuilding<'p> {
    place: RebuildingPlace,
    planned: &'p [PlannedDelta],
    /// The store's layers, once they are asked for.
    stored: Option<HashMap<Digest, OutgoingLayer>>,
    /// What the present layer is rebuilt from, and what came out of the engine.
    bases: HashMap<Digest, Arc<PlainLayer>>,
    reporter: Reporter,
}

impl<'p> Rebuilding<'p> {
    pub fn new(place: RebuildingPlace, planned: &'p [PlannedDelta], reporter: &Reporter) -> Self {
        Self { place, planned, stored: None, bases: HashMap::new(), reporter: reporter.clone() }
    }

    /// Rebuilds the layer of a delta that has arrived. The delta is removed then.
    ///
    /// # Errors
    /// What the layer is rebuilt from is damaged, or not there any more; the delta is not what the package says; the store can't be
    /// written.
    pub async fn layer(&mut self, delta: &PlannedDelta) -> Result<(), PackagesError> {
        let subject = format!("{} {}", delta.reference, delta.layer.short());
        self.reporter.began(Activity::RebuildLayer, &subject, Some(delta.uncompressed_bytes));
        let result = self.rebuild(delta, &subject).await;
        match &result {
            Ok(()) => self.reporter.done(Activity::RebuildLayer, &subject, message!("delta-rebuilt")),
            Err(error) => self.reporter.failed(Activity::RebuildLayer, &subject, error),
        }
        result
    }

    async fn rebuild(&mut self, delta: &PlannedDelta, subject: &str) -> Result<(), PackagesError> {
        self.bring_bases(delta).await?;
        failpoint!("packages.unpack.before-rebuild");
        let work = Work {
            place: self.place.clone(),
            delta: delta.clone(),
            bases: delta.bases.iter().filter_map(|base| self.bases.get(&base.layer)).cloned().collect(),
            reporter: self.reporter.clone(),
            subject: subject.to_owned(),
        };
        blocking(move || work.carry_out()).await?;
        failpoint!("packages.unpack.after-rebuild");
        Ok(())
    }

    /// Brings what a layer is rebuilt from, uncompressed and proved.
    async fn bring_bases(&mut self, delta: &PlannedDelta) -> Result<(), PackagesError> {
        let of_engine: HashSet<&Digest> = self.engine_bases().map(|(base, _)| &base.layer).collect();
        let is_wanted = |digest: &Digest| delta.bases.iter().any(|base| base.layer == *digest);
        self.bases.retain(|digest, _| is_wanted(digest) || of_engine.contains(digest));
        for base in &delta.bases {
            if self.bases.contains_key(&base.layer) {
                continue;
            }
            match &base.engine_image {
                None => self.bring_of_store(base).await?,
                Some(image) => self.bring_of_engine(base, image).await?,
            }
        }
        Ok(())
    }

    /// What comes out of the engine, and of which of its images.
    fn engine_bases(&self) -> impl Iterator<Item = (&'p PlannedBase, &'p str)> + use<'p> {
        let bases = self.planned.iter().flat_map(|delta| &delta.bases);
        bases.filter_map(|base| Some((base, base.engine_image.as_deref()?)))
    }

    async fn bring_of_store(&mut self, base: &PlannedBase) -> Result<(), PackagesError> {
        let place = self.place.clone();
        if self.stored.is_none() {
            let store = place.clone();
            self.stored = Some(blocking(move || store_layers(&store.store, &store.architecture)).await?);
        }
        let layer = self.stored.as_ref().and_then(|stored| stored.get(&base.layer)).cloned();
        let missing = || rebuild_error(&base.layer, DeltaError::BaseMissing { diff_id: base.layer.clone() });
        let layer = layer.ok_or_else(missing)?;
        let reporter = self.reporter.clone();
        let plain = blocking(move || plain_layer(&place.store, &layer, &mut || !reporter.asked_to_stop())).await;
        self.add(plain.map_err(of_images)?);
        Ok(())
    }

    /// An engine exports whole images: all that is needed of one comes at once.
    async fn bring_of_engine(&mut self, base: &PlannedBase, image: &str) -> Result<(), PackagesError> {
        let mut wanted: Vec<(Digest, u64)> = Vec::new();
        for (other, of) in self.engine_bases().filter(|(other, _)| !self.bases.contains_key(&other.layer)) {
            if of == image && !wanted.iter().any(|(layer, _)| *layer == other.layer) {
                wanted.push((other.layer.clone(), other.bytes));
            }
        }
        let missing = || PackagesError::EngineBase { layer: base.layer.clone(), image: image.to_owned() };
        let address = Address::resolve(self.place.engine.as_deref()).map_err(|_| missing())?;
        let engine = Engine::connect(address).await.map_err(ImagesError::from)?;
        let exported = export_plain_layers(&engine, image, &wanted, &self.place.store, &self.reporter).await;
        exported.map_err(of_images)?.into_iter().for_each(|plain| self.add(plain));
        match self.bases.contains_key(&base.layer) {
            true => Ok(()),
            false => Err(missing()),
        }
    }

    fn add(&mut self, plain: PlainLayer) {
        self.bases.insert(plain.diff_id.clone(), Arc::new(plain));
    }
}

/// One layer, for a thread that may wait.
struct Work {
    place: RebuildingPlace,
    delta: PlannedDelta,
    bases: Vec<Arc<PlainLayer>>,
    reporter: Reporter,
    subject: String,
}

impl Work {
    fn carry_out(&self) -> Result<(), PackagesError> {
        let PlannedDelta { layer, uncompressed_bytes, .. } = &self.delta;
        let failed = |source| rebuild_error(layer, source);
        self.check_header().map_err(failed)?;
        let intake = self.open_store()?;
        let given: Vec<BaseLayer<'_>> = self
            .bases
            .iter()
            .map(|base| BaseLayer { diff_id: &base.diff_id, size: base.bytes, tar: &base.file })
            .collect();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let wanted = Wanted { diff_id: layer, most_bytes: *uncompressed_bytes, threads };
        let taken = intake.take(layer, *uncompressed_bytes, |out| {
            let meter = self.reporter.meter(Activity::RebuildLayer, &self.subject, Some(*uncompressed_bytes));
            let out = Watched { out, reporter: &self.reporter, meter };
            let rebuilt = self.open().and_then(|delta| apply(delta, &given, &wanted, out));
            rebuilt.map(drop).map_err(failed)
        });
        match taken {
            Err(_) if self.reporter.asked_to_stop() => return Err(PackagesError::Stopped),
            taken => taken?,
        }
        // It has done its work; one that can't be removed goes within a week.
        let _ = std::fs::remove_file(self.incoming());
        Ok(())
    }

    /// Whether it is the delta that the index tells of: for this layer, of these bases.
    fn check_header(&self) -> Result<(), DeltaError> {
        let header = Header::read(&mut self.open()?)?;
        let is_named = |diff_id: &Digest, bytes: u64| {
            self.delta.bases.iter().any(|base| base.layer == *diff_id && base.bytes == bytes)
        };
        let is_it = header.result.diff_id == self.delta.layer
            && header.result.size == self.delta.uncompressed_bytes
            && header.bases.len() == self.delta.bases.len()
            && header.bases.iter().all(|base| is_named(&base.diff_id, base.size));
        match is_it {
            true => Ok(()),
            false => Err(DeltaError::Damaged { why: message!("delta-damage-index") }),
        }
    }

    fn open(&self) -> Result<BufReader<File>, DeltaError> {
        let incoming = self.incoming();
        let path = match incoming.is_file() {
            true => incoming,
            false => blob_file(&self.place.store, &self.delta.digest),
        };
        Ok(BufReader::with_capacity(64 << 10, File::open(path).map_err(DeltaError::Read)?))
    }

    fn incoming(&self) -> PathBuf {
        incoming_folder(&self.place.store).join(self.delta.digest.hex())
    }

    fn open_store(&self) -> Result<LayerIntake, PackagesError> {
        let begun = Instant::now();
        loop {
            match LayerIntake::open(&self.place.store, &self.place.architecture) {
                Err(ImagesError::StoreBusy { .. }) if begun.elapsed() < PATIENCE && !self.reporter.asked_to_stop() => {
                    thread::sleep(LOOK);
                }
                opened => return Ok(opened?),
            }
        }
    }
}

/// The layer on its way into the store, until somebody asks for an end.
struct Watched<'a> {
    out: &'a mut dyn Write,
    reporter: &'a Reporter,
    meter: Meter,
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.reporter.asked_to_stop() {
            return Err(io::Error::other("stopped on request"));
        }
        let written = self.out.write(bytes)?;
        self.meter.add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn rebuild_error(layer: &Digest, source: DeltaError) -> PackagesError {
    PackagesError::Rebuild { layer: layer.clone(), source }
}

fn of_images(error: ImagesError) -> PackagesError {
    match error {
        ImagesError::Stopped => PackagesError::Stopped,
        error => error.into(),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|join| std::panic::resume_unwind(join.into_panic()))
}
