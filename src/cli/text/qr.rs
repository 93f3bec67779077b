//! QR codes on a terminal.

use qrcode::{Color, EcLevel, QrCode};

use super::failure::Failure;
use super::output::Output;
use super::terminal_size;
use crate::report::Message;

/// Modules that stay light around a code: two are what readers need of a screen.
const QUIET: usize = 2;

/// Draws a text where there is room for it: two modules in one letter, one above the other. `hint` says what to do where there
/// is none.
pub fn draw(text: &str, hint: Message, output: &Output) -> Result<(), Failure> {
    let too_large = |message: Message| Failure::usage_with_hint(message, hint.clone());
    let code =
        QrCode::with_error_correction_level(text, EcLevel::L).map_err(|_| too_large(message!("usage-qr-too-large")))?;
    let (width, colors) = (code.width(), code.to_colors());
    let all = width + 2 * QUIET;
    let (columns, rows) = (all, all.div_ceil(2));
    if let Some(size) = terminal_size::of_stdout()
        && (usize::from(size.columns) < columns || usize::from(size.rows) <= rows)
    {
        let message = message!(
            "usage-qr-no-room",
            columns = columns,
            rows = rows + 1,
            has_columns = size.columns,
            has_rows = size.rows
        );
        return Err(too_large(message));
    }
    let is_dark = |x: usize, y: usize| {
        let inside = |place: usize| place.checked_sub(QUIET).filter(|place| *place < width);
        matches!((inside(x), inside(y)), (Some(x), Some(y)) if colors[y * width + x] == Color::Dark)
    };
    // With colours the code is dark on light whatever the terminal has; without, its letters are what is light.
    let in_color = output.color_out();
    let mut text = String::new();
    for y in (0..all).step_by(2) {
        if in_color {
            text.push_str("\x1b[38;5;16;48;5;231m");
        }
        for x in 0..all {
            let upper = is_dark(x, y) == in_color;
            let lower = (y + 1 < all && is_dark(x, y + 1)) == in_color;
            text.push(match (upper, lower) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        text.push_str(if in_color { "\x1b[0m\n" } else { "\n" });
    }
    output.data(&text)?;
    Ok(())
}
