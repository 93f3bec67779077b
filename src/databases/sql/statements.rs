//! Splitting what a person wrote into SQL statements, as psql's own lexer does (`psqlscan.l`).
//!
//! Pure. It knows quotes, dollar quotes, comments, parentheses and the bodies of SQL functions, and nothing else of the
//! language: what is between is the server's to judge.

use crate::databases::error::DatabasesError;
use crate::report::Message;

/// One statement, without the semicolon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::databases) struct Statement<'a> {
    pub text: &'a str,
    /// The line that it begins on, from 1.
    pub line: usize,
    /// Its first word, in capitals.
    pub verb: String,
}

/// Splits; what holds only white space and comments is no statement.
pub(in crate::databases) fn split(text: &str) -> Result<Vec<Statement<'_>>, DatabasesError> {
    let mut lexer = Lexer { text, at: 0, parentheses: 0, words: Vec::new(), begins: 0, first: None };
    let mut statements = Vec::new();
    loop {
        let ended = lexer.run()?;
        if let Some(first) = lexer.first {
            let statement = text[first..lexer.at].trim_end();
            let verb = lexer.words.first().cloned().unwrap_or_default();
            let line = line_of(text, first);
            if verb == "COPY" && copies_from_input(&lexer.words) {
                let reason = message!("statement-copy");
                return Err(DatabasesError::NotAStatement { line, reason });
            }
            statements.push(Statement { text: statement, line, verb });
        }
        if !ended {
            return Ok(statements);
        }
        lexer.at += 1;
        (lexer.first, lexer.parentheses, lexer.begins) = (None, 0, 0);
        lexer.words.clear();
    }
}

fn copies_from_input(words: &[String]) -> bool {
    words.windows(2).any(|pair| pair[0] == "FROM" && ["STDIN", "PSTDIN"].contains(&pair[1].as_str()))
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].bytes().filter(|byte| *byte == b'\n').count() + 1
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    parentheses: u32,
    /// The first words of the statement, in capitals, outside of quotes.
    words: Vec<String>,
    /// How deep in `BEGIN … END` of a function's body.
    begins: u32,
    /// Where the statement begins.
    first: Option<usize>,
}

/// More words than tell what a statement is.
const WORDS: usize = 200;

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn fail<T>(&self, at: usize, reason: Message) -> Result<T, DatabasesError> {
        Err(DatabasesError::NotAStatement { line: line_of(self.text, at), reason })
    }

    /// To the end of a statement: `true` at its semicolon, `false` at the end of the text.
    fn run(&mut self) -> Result<bool, DatabasesError> {
        while let Some(letter) = self.rest().chars().next() {
            if letter.is_whitespace() || letter == '\u{feff}' {
                self.at += letter.len_utf8();
                continue;
            }
            if self.rest().starts_with("--") {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
                continue;
            }
            if self.rest().starts_with("/*") {
                self.comment()?;
                continue;
            }
            if letter == ';' && self.parentheses == 0 && self.begins == 0 {
                return Ok(true);
            }
            self.first.get_or_insert(self.at);
            match letter {
                '\'' => self.quoted('\'', false)?,
                '"' => self.quoted('"', false)?,
                '$' => self.dollar()?,
                '\\' => return self.fail(self.at, message!("statement-psql")),
                '(' => self.step(|depth| depth + 1),
                ')' => self.step(|depth| depth.saturating_sub(1)),
                _ if letter.is_alphabetic() || letter == '_' => self.word()?,
                // A number takes its letters and dollars with it: `1$a$` opens no quote.
                _ if letter.is_ascii_digit() => self.skip_word(),
                _ => self.at += letter.len_utf8(),
            }
        }
        Ok(false)
    }

    fn step(&mut self, depth: impl Fn(u32) -> u32) {
        self.parentheses = depth(self.parentheses);
        self.at += 1;
    }

    fn comment(&mut self) -> Result<(), DatabasesError> {
        let (begun, mut depth) = (self.at, 0);
        loop {
            if self.rest().starts_with("/*") {
                depth += 1;
                self.at += 2;
            } else if self.rest().starts_with("*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return Ok(());
                }
            } else {
                match self.rest().chars().next() {
                    Some(letter) => self.at += letter.len_utf8(),
                    None => return self.fail(begun, message!("statement-comment")),
                }
            }
        }
    }

    fn quoted(&mut self, quote: char, escapes: bool) -> Result<(), DatabasesError> {
        let begun = self.at;
        self.at += 1;
        while let Some(letter) = self.rest().chars().next() {
            self.at += letter.len_utf8();
            if letter == quote {
                if !self.rest().starts_with(quote) {
                    return Ok(());
                }
                self.at += 1;
            } else if escapes && letter == '\\' {
                self.at += self.rest().chars().next().map_or(0, char::len_utf8);
            }
        }
        self.fail(begun, message!("statement-quote"))
    }

    /// `$$ … $$` or `$tag$ … $tag$`; any other dollar is a parameter.
    fn dollar(&mut self) -> Result<(), DatabasesError> {
        let rest = self.rest();
        let tag = rest[1..].find(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
        let Some(tag) = tag.filter(|end| rest[1 + end..].starts_with('$')) else {
            self.at += 1;
            return Ok(());
        };
        let tag = &rest[..tag + 2];
        if tag[1..].starts_with(|letter: char| letter.is_ascii_digit()) {
            self.at += 1;
            return Ok(());
        }
        match rest[tag.len()..].find(tag) {
            Some(end) => {
                self.at += 2 * tag.len() + end;
                Ok(())
            }
            None => self.fail(self.at, message!("statement-dollar")),
        }
    }

    fn skip_word(&mut self) {
        let end = |letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == '$');
        self.at += self.rest().find(end).unwrap_or(self.rest().len());
    }

    fn word(&mut self) -> Result<(), DatabasesError> {
        let begun = self.at;
        self.skip_word();
        let word = self.text[begun..self.at].to_uppercase();
        // E'…' reads backslashes.
        if word == "E" && self.rest().starts_with('\'') {
            return self.quoted('\'', true);
        }
        let is_routine = self.words.first().is_some_and(|word| word == "CREATE")
            && self.words.iter().take(4).any(|word| word == "FUNCTION" || word == "PROCEDURE");
        if is_routine && self.parentheses == 0 {
            match word.as_str() {
                "BEGIN" => self.begins += 1,
                "CASE" if self.begins > 0 => self.begins += 1,
                "END" => self.begins = self.begins.saturating_sub(1),
                _ => {}
            }
        }
        if self.words.len() < WORDS {
            self.words.push(word);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(text: &str) -> Vec<(usize, &str)> {
        split(text).unwrap().into_iter().map(|statement| (statement.line, statement.text)).collect()
    }

    #[test]
    fn semicolons_in_quotes_comments_and_parentheses_end_nothing() {
        let text =
            "select ';', \";\", $$;$$, $a$;$$;$a$, E'\\';' -- ;\n /* ; /* ; */ ; */ ;\n\n create rule r as (a; b)";
        let all = split(text).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].line, all[0].verb.as_str()), (1, "SELECT"));
        assert_eq!((all[1].line, all[1].text), (4, "create rule r as (a; b)"));
    }

    #[test]
    fn a_functions_body_is_part_of_it() {
        let body =
            "create or replace function f() returns int begin atomic select case when true then 1 end; select 2; end";
        let text = format!("{body}; begin; commit");
        assert_eq!(texts(&text), [(1, body), (1, "begin"), (1, "commit")]);
    }

    #[test]
    fn what_says_nothing_is_no_statement() {
        assert_eq!(texts("; ;-- a\n/* b */ ;\n"), []);
        assert_eq!(texts("\u{feff}select 1;"), [(1, "select 1")]);
        assert_eq!(texts("select $1, a$b, 1$$"), [(1, "select $1, a$b, 1$$")]);
    }

    #[test]
    fn what_is_not_sql_is_told_with_its_line() {
        for (text, line) in [
            ("select 1;\n\\d", 2),
            ("select 'a", 1),
            ("\n\nselect \"a", 3),
            ("/* a", 1),
            ("select $a$ x $b$", 1),
            ("select 1;\ncopy t from stdin;", 2),
        ] {
            let error = split(text).unwrap_err();
            assert!(matches!(error, DatabasesError::NotAStatement { line: found, .. } if found == line), "{error}");
        }
        assert_eq!(texts("copy t to stdout").len(), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_split_or_refused_without_a_panic(text in "[a-z;'\"$\\\\/*()\\- \n档é1]{0,60}") {
            if let Ok(statements) = split(&text) {
                for statement in statements {
                    prop_assert!(text.contains(statement.text) && !statement.text.is_empty());
                }
            }
        }

        #[test]
        fn quoted_texts_come_back_whole(inner in "[^\0]{0,20}") {
            let quoted = crate::databases::server::quoting::literal(&inner);
            let text = format!("select {quoted} ; select 2");
            let statements = split(&text).unwrap();
            prop_assert_eq!(statements.len(), 2);
            prop_assert_eq!(statements[0].text, format!("select {quoted}"));
        }
    }
}
