//! The plan of `send`, as people read it.

use super::send::SiteSent;
use crate::cli::text::output::{Output, Tone};
use crate::cli::text::table::{self, Column, size};
use crate::report::Message;
use crate::sites::{FileResult, ImageResult, LeftOutBecause, TransferPlan, shown};

pub(super) fn draw(sent: &SiteSent, output: &Output) -> String {
    let plan = &sent.plan;
    let mut text = tables(plan, Carrier::Line, output);
    let mut say = |message: Message| {
        text.push_str(&output.catalogue.text(&message));
        text.push('\n');
    };
    for file in &plan.left_out {
        let path = &file.path;
        say(match file.reason {
            LeftOutBecause::Secret => message!("send-left-secret", path = path),
            LeftOutBecause::Outside => message!("send-left-outside", path = path),
            LeftOutBecause::Missing => message!("send-left-missing", path = path),
        });
    }
    if keeps_something(plan) {
        say(message!("send-kept-why"));
    }
    if plan.is_nothing() {
        say(message!("send-nothing", site = &sent.site));
        return text;
    }
    say(match (sent.bytes_per_second, sent.seconds_expected) {
        (Some(rate), Some(seconds)) => {
            message!("send-bytes-time", bytes = plan.bytes, time = seconds, rate = rate)
        }
        _ => message!("send-bytes", bytes = plan.bytes),
    });
    for need in &plan.space {
        let folder = shown(&need.folder);
        say(match need.free {
            Some(free) => message!("send-space", folder = folder, needed = need.needed, free = free),
            None => message!("send-space-unknown", folder = folder, needed = need.needed),
        });
    }
    text
}

/// Whether something that was changed there stays as it is.
pub(in crate::cli::commands) fn keeps_something(plan: &TransferPlan) -> bool {
    let files = plan.files.iter().map(|file| file.result);
    files.chain(plan.seeds.iter().map(|seed| seed.result)).any(|of| of == FileResult::Kept)
}

/// What brings it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli::commands) enum Carrier {
    /// A connection to another machine.
    Line,
    /// A file that is unpacked here.
    Package,
}

/// What becomes of images, files and seeds.
pub(in crate::cli::commands) fn tables(plan: &TransferPlan, carrier: Carrier, output: &Output) -> String {
    let mut text = String::new();
    let title = |key: Message| Column::new(output.catalogue.word(key));
    if !plan.images.is_empty() {
        let columns = [
            title(message!("column-image")).at_least(12),
            title(message!("column-result")),
            title(message!("column-new-layers")).right().leaves(1),
            title(message!("column-size")).right(),
        ];
        let row = |image: &crate::sites::PlannedImage| {
            let result = match image.result {
                ImageResult::Present => output.paint_word(Tone::Good, message!("word-present")),
                ImageResult::Sent => output.paint_word(
                    Tone::Attention,
                    match carrier {
                        Carrier::Line => message!("send-would-send"),
                        Carrier::Package => message!("unpack-would-bring"),
                    },
                ),
            };
            let layers = format!("{}/{}", image.layers_to_send, image.layers_total);
            vec![image.reference.clone(), result, layers, size(image.bytes)]
        };
        text.push_str(&table::fitted(&columns, &plan.images.iter().map(row).collect::<Vec<_>>(), output.width()));
    }
    let result = |result: FileResult| match result {
        FileResult::Unchanged => output.paint_word(Tone::Good, message!("word-unchanged")),
        FileResult::New => output.paint_word(Tone::Attention, message!("send-new")),
        FileResult::Replaced => output.paint_word(Tone::Attention, message!("send-replaced")),
        FileResult::Kept => output.paint_word(
            Tone::Bad,
            match carrier {
                Carrier::Line => message!("send-kept"),
                Carrier::Package => message!("unpack-kept"),
            },
        ),
    };
    let files = plan.files.iter().map(|file| (file.path.clone(), file.result, file.bytes));
    let seeds = plan.seeds.iter().map(|seed| (seed.database.clone(), seed.result, seed.bytes));
    for (kind, rows) in
        [(message!("column-file"), files.collect::<Vec<_>>()), (message!("column-seed"), seeds.collect())]
    {
        // What stays as it is needs no line, unless it is all that there is to say.
        let rows: Vec<Vec<String>> = rows
            .into_iter()
            .filter(|(_, result, _)| *result != FileResult::Unchanged)
            .map(|(name, of, bytes)| vec![shown(&name), result(of), size(bytes)])
            .collect();
        if !rows.is_empty() {
            let columns =
                [title(kind).at_least(12), title(message!("column-result")), title(message!("column-size")).right()];
            text.push_str(&table::fitted(&columns, &rows, output.width()));
        }
    }
    text
}
