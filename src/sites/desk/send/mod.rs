//! Sending to a site what it lacks, whatever becomes of the connection.
//!
//! `order` is what is sent, `batch` how files go to and fro on one connection, `limit` keeps to a rate, `measure` finds out what
//! the line gives.

mod batch;
mod limit;
mod measure;
mod order;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use self::batch::Batch;
use self::limit::Limiter;
use super::conversation::unexpected;
use super::remote::Remote;
use crate::report::{Activity, Listed, Reporter};
use crate::sites::protocol::{Frame, FromReceiver, ReceiveRequest, Reply, Request, Target, ToReceiver};
use crate::sites::{SitesError, shown};

pub use measure::{Measured, measure};
pub use order::{SendOrder, Sender};

/// A site says every ten seconds that it is there.
const SILENCE: Duration = Duration::from_secs(60);
/// After a connection is lost it is tried again after so long, then after twice as long, up to the most.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// So long it is tried without anything having been sent.
const PATIENCE: Duration = Duration::from_secs(600);
/// So often blobs are sent after the site has found that it lacks them.
const ROUNDS: usize = 3;

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// Files that were put in place.
    pub placed: Vec<String>,
    /// Files that somebody changed meanwhile, and that stay.
    pub kept: Vec<String>,
    /// Images that have their name now.
    pub named: Vec<String>,
    pub seeds: Vec<String>,
    /// Bytes of files that went over the line.
    pub bytes: u64,
}

/// What is known of the site while connections come and go.
struct Course<'o> {
    order: &'o SendOrder,
    limiter: Limiter,
    /// Files of `order` that have arrived.
    arrived: HashSet<u32>,
    files_are_placed: bool,
    images_are_named: bool,
    seeds_in_place: HashSet<String>,
    sent: Sent,
}

/// Sends all of it; a connection that is lost is made again.
///
/// # Errors
/// A site that can't be reached for long, or that refuses.
pub async fn send(remote: &Remote, order: &SendOrder, reporter: &Reporter) -> Result<Sent, SitesError> {
    let mut course = Course {
        order,
        limiter: Limiter::new(order.limit),
        arrived: HashSet::new(),
        files_are_placed: order.project_files.is_empty(),
        images_are_named: order.images.is_empty(),
        seeds_in_place: HashSet::new(),
        sent: Sent::default(),
    };
    let missing = || order.project_files.iter().chain(&order.content).filter(|file| file.is_missing);
    reporter.planned(Activity::SendFile, missing().count(), Some(missing().map(|file| file.bytes).sum()));
    let mut pause = FIRST_PAUSE;
    let (mut progress, mut since) = (None, Instant::now());
    loop {
        let error = match course.go_on(remote, reporter).await {
            Ok(()) => return Ok(course.sent),
            Err(error) => error,
        };
        let reached = (course.sent.bytes, course.arrived.len(), course.files_are_placed);
        let may_come_back = match error {
            SitesError::ConnectionLost { .. } => true,
            // It was never there.
            SitesError::Unreachable { .. } => progress.is_some(),
            _ => false,
        };
        if !may_come_back {
            return Err(error);
        }
        if progress.replace(reached) != Some(reached) {
            (pause, since) = (FIRST_PAUSE, Instant::now());
            reporter.warn(message!("site-send-lost", site = remote.name(), why = crate::report::in_one_line(&error)));
        }
        if since.elapsed() > PATIENCE {
            return Err(error);
        }
        remote.forget().await;
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

impl Course<'_> {
    /// As far as one connection goes.
    async fn go_on(&mut self, remote: &Remote, reporter: &Reporter) -> Result<(), SitesError> {
        let request = ReceiveRequest { project: self.order.project.clone(), desk: self.order.desk.clone() };
        let conversation = remote.ask(&Request::Receive(request)).await?;
        let (speaking, hearing) = conversation.split(SILENCE);
        let mut batch = Batch::new(remote.name(), speaking, hearing, reporter);
        match batch.answer().await? {
            FromReceiver::Ready => {}
            other => return Err(unexpected(remote.name(), &Reply::Receiver(other))),
        }
        let result = self.hand_over(&mut batch, reporter).await;
        self.sent.bytes += batch.bytes_sent;
        result?;
        // What is left to say can be lost: all is in its place.
        let _ = batch.say(&Frame::control(&ToReceiver::End)).await;
        Ok(())
    }

    async fn hand_over(&mut self, batch: &mut Batch<'_>, reporter: &Reporter) -> Result<(), SitesError> {
        let order = self.order;
        if !self.files_are_placed {
            // First, since they say where all else belongs. All of them each time: what a connection has told is forgotten with it.
            let files = order.project_files.iter().enumerate().map(|(number, file)| (number as u32, file));
            batch.send(files.collect(), &mut self.limiter, &mut HashSet::new()).await?;
        }
        let base = order.project_files.len() as u32;
        let content = order.content.iter().enumerate().map(|(number, file)| (base + number as u32, file));
        let missing = content.filter(|(number, file)| {
            let is_placed =
                matches!(&file.target, Target::Seeds { database, .. } if self.seeds_in_place.contains(database));
            !self.arrived.contains(number) && !is_placed
        });
        batch.send(missing.collect(), &mut self.limiter, &mut self.arrived).await?;
        self.name_images(batch).await?;
        for (database, seed) in &order.seeds {
            if self.seeds_in_place.contains(database) {
                continue;
            }
            let place = ToReceiver::PlaceSeed { database: database.clone(), seed: seed.clone() };
            match batch.ask(&place).await? {
                FromReceiver::SeedPlaced { database } => {
                    self.sent.seeds.push(database.clone());
                    self.seeds_in_place.insert(database);
                }
                other => return Err(batch.unexpected(other)),
            }
        }
        self.place_files(batch, reporter).await
    }

    /// Lets the site put files of the project in place: last, so that no manifest is there before its images and seeds.
    async fn place_files(&mut self, batch: &mut Batch<'_>, reporter: &Reporter) -> Result<(), SitesError> {
        if self.files_are_placed {
            return Ok(());
        }
        match batch.ask(&ToReceiver::PlaceFiles).await? {
            FromReceiver::FilesPlaced { placed, kept } => {
                for path in &placed {
                    reporter.done(Activity::PlaceFile, shown(path), message!("send-in-place"));
                }
                (self.sent.placed, self.sent.kept) = (placed, kept);
            }
            other => return Err(batch.unexpected(other)),
        }
        self.files_are_placed = true;
        Ok(())
    }

    /// Lets the site name the images; what it finds missing is sent, and it is asked again.
    async fn name_images(&mut self, batch: &mut Batch<'_>) -> Result<(), SitesError> {
        for _ in 0..ROUNDS {
            if self.images_are_named {
                return Ok(());
            }
            for image in &self.order.images {
                batch.say(&Frame::control(&ToReceiver::Image(Box::new(image.clone())))).await?;
            }
            match batch.ask(&ToReceiver::NameImages).await? {
                FromReceiver::ImagesNamed { mut named, lacking, .. } => {
                    self.sent.named.append(&mut named);
                    if lacking.is_empty() {
                        self.images_are_named = true;
                        return Ok(());
                    }
                    let first = (self.order.project_files.len() + self.order.content.len()) as u32;
                    let files: Vec<_> = lacking.iter().filter_map(|digest| self.order.blob(digest)).collect();
                    if files.len() < lacking.len() {
                        let digests = Listed::of(lacking.iter().map(crate::fs::Digest::short));
                        return Err(batch.refused(message!("send-asks-other", digests = digests)));
                    }
                    let numbered = files.iter().enumerate().map(|(number, file)| (first + number as u32, file));
                    batch.send(numbered.collect(), &mut self.limiter, &mut HashSet::new()).await?;
                }
                other => return Err(batch.unexpected(other)),
            }
        }
        match self.images_are_named {
            true => Ok(()),
            false => Err(batch.refused(message!("send-goes-missing"))),
        }
    }
}
