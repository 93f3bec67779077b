//! The receiving side: files of a project, blobs of images, and seeds arrive, whatever carries them.
//!
//! `arriving` takes one file in, `targets` knows where each belongs, `placing` puts files and seeds in place, `naming` makes
//! images of blobs, `record` writes down what was done. Nothing gets its name before all of it has passed its digest. The
//! caller offers files, is told from where on each is wanted, hands over pieces, and asks that what has arrived is put in
//! place: files of the project are offered first, since they say where all else belongs, and put in place last, when all that
//! they need is there.

mod arriving;
mod naming;
mod placing;
mod record;
mod targets;

use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::mpsc;

use self::arriving::Piece;
pub use self::record::Recorded;
use self::targets::{Destination, Targets};
use crate::images::{Adopted, OutgoingImage};
use crate::report::Message;
use crate::sites::place::problem_of;
use crate::sites::protocol::{FileOffer, FromReceiver, ProjectPlace, Sentence, ToReceiver};

/// More files than that are never under way at once; a peer that offers more is refused.
pub const MOST_AT_ONCE: usize = 64;
/// So many pieces of a file may wait for the disk.
const PIECES_AHEAD: usize = 8;
/// More images no project has.
const MOST_IMAGES: usize = 10_000;

/// What is answered to the caller.
type Says = mpsc::UnboundedSender<FromReceiver>;

/// What arrives at one project. Dropped, the files that are under way are made safe as far as they have come.
pub struct Receiver {
    targets: Targets,
    recorded: Recorded,
    says: Says,
    /// The files that are under way, each with what takes its pieces.
    arriving: HashMap<u32, mpsc::Sender<Piece>>,
    /// Images that are to be named next.
    images: Vec<OutgoingImage>,
}

impl Receiver {
    pub fn new(project: ProjectPlace, recorded: Recorded, says: Says) -> Self {
        Self { targets: Targets::of(project), recorded, says, arriving: HashMap::new(), images: Vec::new() }
    }

    pub(super) fn say(&self, from: FromReceiver) {
        // Where nobody says it any more, nobody hears it.
        let _ = self.says.send(from);
    }

    /// Does what is asked for; what comes of it is said.
    ///
    /// # Errors
    /// What ends all of it; what is wrong with one file is said.
    pub async fn follow(&mut self, what: ToReceiver) -> Result<(), Message> {
        match what {
            ToReceiver::Offer(offer) => self.offered(offer).await?,
            ToReceiver::Complete { file } => {
                self.pass_on(file, Piece::End).await;
                self.arriving.remove(&file);
            }
            ToReceiver::PlaceFiles => {
                // One that can't be read here takes nobody's place.
                if let Some(Err(errors)) = self.targets.read_coming() {
                    return Err(problem_of(&errors));
                }
                let open = self.recorded.open(&self.targets, "--only manifest").await?;
                let result = self.targets.place_files(open.clone()).await;
                record::close(open, &result).await?;
                let (placed, kept) = result?;
                self.say(FromReceiver::FilesPlaced { placed, kept });
            }
            ToReceiver::Image(image) if self.images.len() < MOST_IMAGES => self.images.push(*image),
            ToReceiver::Image(_) => return Err(message!("receive-images", most = MOST_IMAGES)),
            ToReceiver::NameImages => {
                let images = std::mem::take(&mut self.images);
                let open = self.recorded.open(&self.targets, "--only images").await?;
                let result = naming::name(&mut self.targets, images, open.clone()).await;
                record::close(open, &result).await?;
                let Adopted { named, unchanged, lacking } = result?;
                self.say(FromReceiver::ImagesNamed { named, unchanged, lacking });
            }
            ToReceiver::PlaceSeed { database, seed } => {
                let open = self.recorded.open(&self.targets, "--only seeds").await?;
                let result = self.targets.place_seed(&database, &seed, open.clone()).await;
                record::close(open, &result).await?;
                result?;
                self.say(FromReceiver::SeedPlaced { database });
            }
            ToReceiver::End => {}
        }
        Ok(())
    }

    async fn offered(&mut self, offer: FileOffer) -> Result<(), Message> {
        if self.arriving.len() >= MOST_AT_ONCE {
            return Err(message!("receive-at-once", most = MOST_AT_ONCE));
        }
        let file = offer.file;
        match self.targets.destination(&offer).await {
            Ok(Destination::There) => self.say(FromReceiver::Has { file }),
            Ok(Destination::Arrives(place)) => {
                let (pieces, taken) = mpsc::channel(PIECES_AHEAD);
                self.arriving.insert(file, pieces);
                let says = self.says.clone();
                tokio::task::spawn_blocking(move || arriving::take(&offer, &place, taken, &says));
            }
            Err(why) => self.say(FromReceiver::Trouble { file, why: Sentence::from(&why) }),
        }
        Ok(())
    }

    /// A piece of a file that was offered. Waits where the disk is slower than what feeds it.
    pub async fn piece(&mut self, file: u32, bytes: Bytes) {
        self.pass_on(file, Piece::Bytes(bytes)).await;
    }

    async fn pass_on(&mut self, file: u32, piece: Piece) {
        if let Some(pieces) = self.arriving.get(&file) {
            // One that takes no more has said why.
            let _ = pieces.send(piece).await;
        }
    }
}
