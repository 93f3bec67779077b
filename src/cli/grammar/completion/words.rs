//! What stands before the cursor, cut into words as a shell cuts it.

/// The words before the one that the cursor stands behind, the program's name first, and that one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words {
    pub before: Vec<String>,
    pub current: String,
    /// Whether the current word begins with a quote that is still open.
    pub quoted: bool,
}

impl Words {
    /// Words that the shell has cut already, the current one last; quotes that it left around them go.
    pub fn of_words(words: &[String]) -> Self {
        let (current, before) =
            words.split_last().map_or((String::new(), &[][..]), |(last, rest)| (last.clone(), rest));
        Self { before: before.to_vec(), current: Self::of_line(&current).current_or(&current), quoted: false }
    }

    /// Cuts a line; a quote that is not closed goes on to its end.
    pub fn of_line(line: &str) -> Self {
        let mut words = Self::default();
        let mut word: Option<String> = None;
        let mut open: Option<char> = None;
        let mut letters = line.chars();
        while let Some(letter) = letters.next() {
            match (open, letter) {
                (Some(quote), letter) if letter == quote => open = None,
                (None, '\'' | '"') => {
                    words.quoted |= word.is_none();
                    word.get_or_insert_default();
                    open = Some(letter);
                }
                (None | Some('"'), '\\') => word.get_or_insert_default().extend(letters.next()),
                (None, letter) if letter.is_whitespace() => {
                    words.before.extend(word.take());
                    words.quoted = false;
                }
                (_, letter) => word.get_or_insert_default().push(letter),
            }
        }
        words.quoted &= open.is_some();
        words.current = word.unwrap_or_default();
        words
    }

    /// The current word, unless the text is more than one.
    fn current_or(self, text: &str) -> String {
        if self.before.is_empty() { self.current } else { text.to_owned() }
    }
}
