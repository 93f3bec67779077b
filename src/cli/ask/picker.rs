//! Choosing from a numbered list at a terminal: numbers as ever, and arrows and a filter beside them.
//!
//! What is typed counts: numbers, ranges and names mean what they mean everywhere, and the list shows what they choose.
//! Other words filter it. Nothing here draws or reads; [`super::prompt`] does.
//!
//! `dialoguer::FuzzySelect` was tried in its place: what is typed there only filters, so that Enter behind `17..25` or `[2, 3]`
//! has nothing to choose and does nothing.

use super::keyboard::Key;
use super::line::Line;
use crate::cli::text::table;

/// A list, and how what is typed chooses from it.
pub struct Question<'a> {
    pub prompt: String,
    /// What may be typed, in a line below the list.
    pub hint: String,
    /// Said where words leave nothing of the list.
    pub nothing: String,
    /// The list for so many columns; as many rows for each width.
    pub page: &'a dyn Fn(usize) -> Page,
    /// For each row the words that a filter searches, in small letters.
    pub words: Vec<String>,
    /// What a text that is not empty means.
    pub read: &'a dyn Fn(&str) -> Reading,
    /// How rows that have no room are told of, before what stands in the last line.
    pub more: &'a dyn Fn(usize, &str) -> String,
}

/// The list as it is shown.
#[derive(Debug, Clone, Default)]
pub struct Page {
    pub header: String,
    pub rows: Vec<String>,
}

/// What a text means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// It chooses these rows.
    Rows(Vec<usize>),
    /// It would choose, but makes no sense: why.
    Wrong(String),
    /// It chooses nothing, and filters.
    Words,
}

/// What somebody decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Text(String),
    Row(usize),
    /// An empty line, or Esc.
    Back,
    /// The input is at its end.
    End,
    /// Ctrl-C.
    Interrupted,
}

/// The list with what is typed so far.
pub struct Picker<'a> {
    question: &'a Question<'a>,
    line: Line,
    /// The rows that are shown.
    rows: Vec<usize>,
    /// Why what is typed makes no sense.
    why: Option<String>,
    /// Which of the shown rows Enter takes.
    at: Option<usize>,
    /// The first of the shown rows that has room.
    top: usize,
    /// How many rows had room when it was shown last.
    room: usize,
}

/// What is to be seen: the line with the prompt, what is below it, and the cursor's column in the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub line: String,
    pub below: Vec<String>,
    pub cursor: usize,
}

impl<'a> Picker<'a> {
    pub fn new(question: &'a Question<'a>) -> Self {
        let rows = (0..question.words.len()).collect();
        Self { question, line: Line::default(), rows, why: None, at: None, top: 0, room: usize::MAX }
    }

    /// Takes a key; gives the answer when it is one.
    pub fn press(&mut self, key: Key) -> Option<Answer> {
        let last = self.rows.len().checked_sub(1);
        let page = self.room.max(1);
        match key {
            Key::Enter => {
                return Some(match self.at.and_then(|at| self.rows.get(at)) {
                    Some(row) => Answer::Row(*row),
                    None if self.line.is_blank() => Answer::Back,
                    None => Answer::Text(self.line.text()),
                });
            }
            Key::Escape => return Some(Answer::Back),
            Key::Interrupt => return Some(Answer::Interrupted),
            Key::Gone => return Some(Answer::End),
            Key::EndOfInput if self.line.is_empty() => return Some(Answer::End),
            Key::Down => self.at = last.map(|last| self.at.map_or(0, |at| if at == last { 0 } else { at + 1 })),
            Key::Up => {
                self.at = last.map(|last| self.at.map_or(last, |at| at.checked_sub(1).unwrap_or(last)));
            }
            Key::PageDown => {
                self.at = last.map(|last| self.at.map_or(0, |at| at.saturating_add(page)).min(last));
            }
            Key::PageUp => self.at = last.map(|_| self.at.unwrap_or_default().saturating_sub(page)),
            key => {
                if self.line.press(key) {
                    self.read();
                }
            }
        }
        None
    }

    /// What the text means now.
    fn read(&mut self) {
        let all = 0..self.question.words.len();
        (self.why, self.at, self.top) = (None, None, 0);
        if self.line.is_blank() {
            self.rows = all.collect();
            return;
        }
        let text = self.line.text();
        match (self.question.read)(&text) {
            Reading::Rows(rows) => self.rows = rows,
            Reading::Wrong(why) => {
                self.rows = all.collect();
                self.why = Some(why);
            }
            Reading::Words => {
                let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
                let matches = |row: &usize| words.iter().all(|word| self.question.words[*row].contains(word.as_str()));
                self.rows = all.filter(matches).collect();
                match self.rows.is_empty() {
                    true => self.why = Some(self.question.nothing.clone()),
                    false => self.at = Some(0),
                }
            }
        }
    }

    /// What is to be seen in a terminal of this size: never more lines than it has, none of them as wide as it is, so
    /// that nothing scrolls away or wraps.
    pub fn frame(&mut self, columns: usize, rows: usize) -> Frame {
        let width = columns.saturating_sub(1).max(1);
        let (line, cursor) = prompt_line(&self.question.prompt, &self.line, width);
        // The prompt, the header and the last line are always there, as far as there is room for anything.
        self.room = rows.saturating_sub(3);
        let mut below = Vec::new();
        if self.room > 0 {
            let page = (self.question.page)(width.saturating_sub(2));
            below.push(table::shortened(&format!("  {}", page.header), width));
            if let Some(at) = self.at {
                self.top = self.top.clamp((at + 1).saturating_sub(self.room), at);
            }
            self.top = self.top.min(self.rows.len().saturating_sub(self.room));
            for (place, row) in self.rows.iter().enumerate().skip(self.top).take(self.room) {
                let mark = if self.at == Some(place) { "> " } else { "  " };
                let row = page.rows.get(*row).map(String::as_str).unwrap_or_default();
                below.push(table::shortened(&format!("{mark}{row}"), width));
            }
        }
        if rows > 1 {
            let hidden = self.rows.len().saturating_sub(self.room);
            let last = self.why.as_ref().unwrap_or(&self.question.hint);
            let last = match hidden > 0 && self.room > 0 {
                true => (self.question.more)(hidden, last),
                false => last.clone(),
            };
            below.push(table::shortened(&format!("  {last}"), width));
        }
        Frame { line, below, cursor }
    }

    /// The row that an answer was, with the prompt before it; what stays to be read.
    pub fn said(&self, answer: &Answer, columns: usize) -> String {
        let width = columns.saturating_sub(1).max(1);
        let text = match answer {
            Answer::Row(row) => {
                let page = (self.question.page)(width);
                page.rows.get(*row).map(|row| row.trim_start().to_owned()).unwrap_or_default()
            }
            _ => self.line.text(),
        };
        table::shortened(&format!("{} {text}", self.question.prompt), width)
    }
}

/// A prompt never takes so many columns away from what is typed behind it.
const ROOM_TO_TYPE: usize = 12;

/// A prompt with what is typed behind it, within `width` columns; and the cursor's column.
pub fn prompt_line(prompt: &str, line: &Line, width: usize) -> (String, usize) {
    let prompt = table::shortened(prompt, width.saturating_sub(ROOM_TO_TYPE).max(1));
    let taken = console::measure_text_width(&prompt) + 1;
    let (shown, column) = line.view(width.saturating_sub(taken));
    (format!("{prompt} {shown}"), taken + column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Reading {
        match text.trim().parse::<usize>() {
            Ok(number @ 1..=4) => Reading::Rows(vec![number - 1]),
            Ok(number) => Reading::Wrong(format!("there is no {number}")),
            Err(_) => Reading::Words,
        }
    }

    fn with<T>(test: impl FnOnce(&mut Picker) -> T) -> T {
        let names = ["postgres", "redis", "metis-api", "metis_worker"];
        let page = |_| Page {
            header: "NO  SERVICE".to_owned(),
            rows: names.iter().enumerate().map(|(place, name)| format!(" {}  {name}", place + 1)).collect(),
        };
        let question = Question {
            prompt: "which:".to_owned(),
            hint: "numbers or words".to_owned(),
            nothing: "nothing of that".to_owned(),
            page: &page,
            words: names.map(str::to_owned).to_vec(),
            read: &read,
            more: &|count, rest| format!("{count} more; {rest}"),
        };
        test(&mut Picker::new(&question))
    }

    fn press(picker: &mut Picker, keys: &[Key]) -> Option<Answer> {
        keys.iter().find_map(|key| picker.press(*key))
    }

    fn type_text(picker: &mut Picker, text: &str) {
        text.chars().for_each(|character| assert_eq!(picker.press(Key::Char(character)), None));
    }

    #[test]
    fn numbers_are_taken_as_they_are_typed() {
        with(|picker| {
            type_text(picker, "3");
            assert_eq!(picker.frame(40, 10).below[1], "   3  metis-api");
            assert_eq!(picker.press(Key::Enter), Some(Answer::Text("3".to_owned())));
        });
        with(|picker| {
            type_text(picker, "26");
            let frame = picker.frame(40, 10);
            assert_eq!((frame.below.len(), frame.below[5].as_str()), (6, "  there is no 26"));
            assert_eq!(picker.press(Key::Enter), Some(Answer::Text("26".to_owned())));
        });
    }

    #[test]
    fn words_filter_and_enter_takes_the_first_that_is_left() {
        with(|picker| {
            type_text(picker, "Metis");
            assert_eq!(picker.frame(40, 10).below[1..3], [">  3  metis-api", "   4  metis_worker"].map(str::to_owned));
            assert_eq!(press(picker, &[Key::Down, Key::Enter]), Some(Answer::Row(3)));
        });
        with(|picker| {
            type_text(picker, "kafka");
            assert_eq!(picker.frame(40, 10).below[1], "  nothing of that");
            assert_eq!(picker.press(Key::Enter), Some(Answer::Text("kafka".to_owned())));
        });
    }

    #[test]
    fn an_empty_line_goes_back_and_arrows_choose() {
        assert_eq!(with(|picker| picker.press(Key::Enter)), Some(Answer::Back));
        assert_eq!(with(|picker| picker.press(Key::Escape)), Some(Answer::Back));
        assert_eq!(with(|picker| picker.press(Key::EndOfInput)), Some(Answer::End));
        assert_eq!(with(|picker| picker.press(Key::Interrupt)), Some(Answer::Interrupted));
        assert_eq!(with(|picker| press(picker, &[Key::Up, Key::Enter])), Some(Answer::Row(3)));
        assert_eq!(with(|picker| press(picker, &[Key::Down, Key::Down, Key::Enter])), Some(Answer::Row(1)));
        assert_eq!(with(|picker| press(picker, &[Key::Down, Key::Up, Key::Enter])), Some(Answer::Row(3)));
        let typed = [Key::Char('2'), Key::Backspace, Key::Char(' '), Key::Enter];
        assert_eq!(with(|picker| press(picker, &typed)), Some(Answer::Back));
    }

    #[test]
    fn a_small_terminal_shows_a_part_that_follows_the_arrows() {
        with(|picker| {
            let frame = picker.frame(12, 5);
            assert_eq!(frame.below, ["  NO  SERV…", "   1  post…", "   2  redis", "  2 more; …"].map(str::to_owned));
            press(picker, &[Key::Down, Key::Down, Key::Down]);
            assert_eq!(picker.frame(40, 5).below[1..3], ["   2  redis", ">  3  metis-api"].map(str::to_owned));
            press(picker, &[Key::PageDown]);
            assert_eq!(picker.frame(40, 5).below[2], ">  4  metis_worker");
            for (columns, rows) in [(1, 1), (2, 2), (3, 3), (40, 4), (0, 0)] {
                let frame = picker.frame(columns, rows);
                assert!(frame.below.len() < rows.max(1), "{columns} × {rows}: {frame:?}");
            }
        });
    }
}
