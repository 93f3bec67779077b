//! Text that becomes part of SQL or of a connection string.
//!
//! The only place that turns names and values into SQL; what it makes is safe whatever they contain, under both
//! settings of `standard_conforming_strings`. It runs nothing.

/// An identifier: `"x""; drop"` (PostgreSQL, "Identifiers and Key Words"). A NUL can't be part of one.
pub(in crate::databases) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A schema's object.
pub(in crate::databases) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// A string constant. One with a backslash takes the `E''` form, which reads the same under both settings of
/// `standard_conforming_strings` (as the server's own `quote_literal` does).
pub(in crate::databases) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// One `keyword='value'` of a connection string (libpq, "Keyword/Value Connection Strings"). Names go to
/// PostgreSQL's programs in this form, since `-d a=b` would be read as a connection string itself.
pub(in crate::databases) fn conninfo(keyword: &str, value: &str) -> String {
    format!("{keyword}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A word of a psql command (`\connect`), in one line whatever it contains (psql, "Meta-Commands").
pub(in crate::databases) fn psql_word(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\'', "\'\'").replace('\n', "\\n").replace('\r', "\\r");
    format!("'{escaped}'")
}

/// The value of a setting as `SET name TO …` takes it. Settings that are lists of names are stored as text with the
/// names quoted inside; written back as one constant they would become one strange name (pg_dumpall's
/// `makeAlterConfigCommand` does the same).
pub(in crate::databases) fn setting_value(name: &str, stored: &str) -> String {
    const LISTS: [&str; 6] = [
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    ];
    if !LISTS.contains(&name.to_ascii_lowercase().as_str()) {
        return literal(stored);
    }
    let names = split_names(stored);
    if names.is_empty() { literal("") } else { names.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", ") }
}

/// Reads a quoted name behind its first quote, and what follows its last one; `None` where that is missing.
pub(in crate::databases) fn quoted_name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut letters = text.char_indices().peekable();
    while let Some((index, letter)) = letters.next() {
        if letter != '"' {
            name.push(letter);
        } else if letters.next_if(|(_, next)| *next == '"').is_some() {
            name.push('"');
        } else {
            return Some((name, &text[index + 1..]));
        }
    }
    None
}

/// Splits `"$user", public` into its names.
fn split_names(stored: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = stored.trim_start();
    while !rest.is_empty() {
        let mut name = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            // Without its last quote all that follows is the name.
            let (quoted, behind) = quoted_name(quoted).unwrap_or((quoted.replace("\"\"", "\""), ""));
            name = quoted;
            rest = behind;
            rest = rest.find(',').map_or("", |comma| &rest[comma + 1..]);
        } else {
            let (head, tail) = rest.split_once(',').unwrap_or((rest, ""));
            name.push_str(head.trim());
            rest = tail;
        }
        names.push(name);
        rest = rest.trim_start();
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_want_out_stay_inside_their_quotes() {
        assert_eq!(ident("x\"; drop"), "\"x\"\"; drop\"");
        assert_eq!(ident("档案 局"), "\"档案 局\"");
        assert_eq!(qualified("a.b", "c"), "\"a.b\".\"c\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
        assert_eq!(psql_word("dbname='a\\b'\n"), r"'dbname=''a\\b''\n'");
        assert_eq!(conninfo("dbname", "a=b' c\\"), "dbname='a=b\\' c\\\\'");
    }

    #[test]
    fn a_list_setting_is_written_back_name_by_name() {
        assert_eq!(setting_value("search_path", "\"$user\", public"), "'$user', 'public'");
        assert_eq!(setting_value("search_path", "\"a, \"\"b\", c"), "'a, \"b', 'c'");
        assert_eq!(setting_value("search_path", ""), "''");
        assert_eq!(setting_value("work_mem", "64MB, no list"), "'64MB, no list'");
    }

    /// Reads a quoted text as the server does, and gives the value and what stands behind it.
    fn read_quoted(text: &str, quote: char, escapes: bool) -> (String, String) {
        let mut value = String::new();
        let mut letters = text.chars().peekable();
        assert_eq!(letters.next(), Some(quote));
        while let Some(letter) = letters.next() {
            if letter == quote {
                if letters.next_if_eq(&quote).is_none() {
                    return (value, letters.collect());
                }
                value.push(quote);
            } else if letter == '\\' && escapes {
                value.push(letters.next().expect("a backslash is never last"));
            } else {
                value.push(letter);
            }
        }
        panic!("the quote is never closed");
    }

    proptest! {
        #[test]
        fn an_identifier_reads_back_as_itself(name in "[^\0]{1,20}") {
            prop_assert_eq!(read_quoted(&ident(&name), '"', false), (name, String::new()));
        }

        #[test]
        fn a_literal_reads_back_as_itself(text in "[^\0]{0,20}|[\\\\'\"; ]{0,12}") {
            let quoted = literal(&text);
            let read = match quoted.strip_prefix('E') {
                Some(escaped) => read_quoted(escaped, '\'', true),
                None => {
                    // Without E the backslash's meaning depends on the server: there must be none.
                    prop_assert!(!quoted.contains('\\'));
                    read_quoted(&quoted, '\'', false)
                }
            };
            prop_assert_eq!(read, (text, String::new()));
        }

        #[test]
        fn lists_of_names_are_split_where_the_server_joined_them(
            names in prop::collection::vec("[^\0]{1,8}", 1..5)
        ) {
            let stored = names.iter().map(|name| ident(name)).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(split_names(&stored), names);
        }
    }
}
