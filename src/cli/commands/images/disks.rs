//! The end of a plan that writes to disks: what would be written where, and what a disk without room ends.

use serde::Serialize;

use crate::cli::session::Session;
use crate::cli::session::operations::Shown;
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Tone;
use crate::cli::text::table;
use crate::images::{DiskPurpose, DiskSpace, DiskVerdict, SpaceCheck, refused_for_space};

/// The plan, when its disks have been shown too: a dry run ends as the run would where one is too small.
pub fn shown_with_disks<T: Serialize>(
    plan: &T,
    disks: &[DiskSpace],
    check: SpaceCheck,
    session: &Session,
) -> Result<Shown, Failure> {
    show_disks(disks, session)?;
    let failures = refused_for_space(disks, check).map(Failure::from).into_iter().collect();
    Ok(Shown { failures, ..Shown::of(plan)? })
}

/// What would be written where, and whether there is room for it.
fn show_disks(disks: &[DiskSpace], session: &Session) -> Result<(), Failure> {
    if disks.is_empty() || session.output.json {
        return Ok(());
    }
    let catalogue = session.output.catalogue;
    let rows = disks.iter().map(|disk| {
        let (tone, verdict) = match disk.verdict {
            DiskVerdict::Enough => (Tone::Good, message!("word-enough")),
            DiskVerdict::Unsure => (Tone::Attention, message!("word-perhaps-too-little")),
            DiskVerdict::TooLittle => (Tone::Bad, message!("word-too-little")),
            DiskVerdict::Unknown => (Tone::Quiet, message!("word-unknown")),
        };
        let purpose = match disk.purpose {
            DiskPurpose::Store => message!("word-images"),
            DiskPurpose::Spool => message!("word-engine-export"),
            DiskPurpose::Engine => message!("word-engine-layers"),
            DiskPurpose::Export => message!("word-archive"),
        };
        let needed = match (disk.needed_bytes, disk.needed_at_most_bytes) {
            (least, most) if least == most => table::size(most),
            (least, most) => {
                let range = message!("word-range", least = least, most = most);
                catalogue.text(&range)
            }
        };
        let free = disk.free_bytes.map_or_else(|| "?".to_owned(), table::size);
        let verdict = session.output.paint_word(tone, verdict);
        vec![disk.folder.display().to_string(), catalogue.word(purpose).to_owned(), needed, free, verdict]
    });
    let header = [
        message!("column-folder"),
        message!("column-purpose"),
        message!("column-needed"),
        message!("column-free"),
        message!("column-room"),
    ];
    let table = table::whole(&catalogue.words(header), rows.collect(), session.output.width());
    Ok(session.output.data(&format!("\n{table}"))?)
}
