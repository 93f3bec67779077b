//! A line that is being typed: characters, and a cursor among them.

use console::measure_text_width;

use super::keyboard::Key;

/// What is typed so far.
#[derive(Debug, Clone, Default)]
pub struct Line {
    characters: Vec<char>,
    cursor: usize,
}

impl Line {
    pub fn text(&self) -> String {
        self.characters.iter().collect()
    }

    pub fn is_blank(&self) -> bool {
        self.characters.iter().all(|character| character.is_whitespace())
    }

    pub fn is_empty(&self) -> bool {
        self.characters.is_empty()
    }

    /// Takes a key; whether the text is another one then.
    pub fn press(&mut self, key: Key) -> bool {
        let before = self.characters.len();
        match key {
            Key::Char(character) => {
                self.characters.insert(self.cursor, character);
                self.cursor += 1;
            }
            Key::Backspace if self.cursor > 0 => {
                self.cursor -= 1;
                self.characters.remove(self.cursor);
            }
            Key::Delete | Key::EndOfInput if self.cursor < self.characters.len() => {
                self.characters.remove(self.cursor);
            }
            Key::ClearLine => {
                self.characters.drain(..self.cursor);
                self.cursor = 0;
            }
            Key::ClearWord => {
                let is_blank = |character: &char| character.is_whitespace();
                let typed = &self.characters[..self.cursor];
                let end = typed.iter().rposition(|character| !is_blank(character)).map_or(0, |last| last + 1);
                let begin = typed[..end].iter().rposition(is_blank).map_or(0, |blank| blank + 1);
                self.characters.drain(begin..self.cursor);
                self.cursor = begin;
            }
            Key::Left => self.cursor = self.cursor.saturating_sub(1),
            Key::Right => self.cursor = (self.cursor + 1).min(self.characters.len()),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = self.characters.len(),
            _ => {}
        }
        self.characters.len() != before
    }

    /// As much of it as `width` columns hold, around the cursor; and the column of the cursor in that.
    pub fn view(&self, width: usize) -> (String, usize) {
        let wide = |character: &char| measure_text_width(character.encode_utf8(&mut [0; 4]));
        let mut begin = 0;
        let before = |begin: usize| self.characters[begin..self.cursor].iter().map(wide).sum::<usize>();
        // The cursor needs a column of its own behind the text.
        while before(begin) >= width.max(1) && begin < self.cursor {
            begin += 1;
        }
        let mut shown = String::new();
        let mut columns = 0;
        for character in &self.characters[begin..] {
            columns += wide(character);
            if columns > width {
                break;
            }
            shown.push(*character);
        }
        (shown, before(begin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[Key]) -> Line {
        let mut line = Line::default();
        for key in keys {
            line.press(*key);
        }
        line
    }

    fn letters(text: &str) -> Vec<Key> {
        text.chars().map(Key::Char).collect()
    }

    #[test]
    fn keys_change_the_line_where_the_cursor_is() {
        let edits = [letters("17..2"), vec![Key::Left, Key::Backspace, Key::End, Key::Char('5')]].concat();
        assert_eq!(typed(&edits).text(), "17.25");
        let edits = [letters("[2, 3] !3"), vec![Key::ClearWord]].concat();
        assert_eq!(typed(&edits).text(), "[2, 3] ");
        let edits = [letters("123"), vec![Key::Home, Key::Delete, Key::Right, Key::ClearLine]].concat();
        assert_eq!(typed(&edits).text(), "3");
        assert_eq!(typed(&[Key::Backspace, Key::Delete, Key::Left, Key::ClearWord, Key::ClearLine]).text(), "");
    }

    #[test]
    fn what_is_longer_than_the_room_is_shown_around_the_cursor() {
        let line = typed(&letters("数据库服务"));
        assert_eq!(line.view(20), ("数据库服务".to_owned(), 10));
        let (shown, column) = line.view(6);
        assert_eq!((shown.as_str(), column), ("服务", 4));
        let home = typed(&[letters("abcdef"), vec![Key::Home]].concat());
        assert_eq!(home.view(4), ("abcd".to_owned(), 0));
    }
}
