//! Commands as they could be typed: what the journal keeps of each, and what sentences tell to type.

/// Names as they could be typed behind a command.
pub fn typed(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(" ")
}

/// As a shell takes it.
pub fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:@%+,=".contains(c);
    // zsh takes `=name` for the path of a command.
    match !name.is_empty() && !name.starts_with('=') && name.chars().all(is_plain) {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_in_the_journal_can_be_typed_again_whatever_its_names_are() {
        let names = ["档案", "a b", "it's \"here\"", "$(x)", "old=new", "=ls", "--help"].map(str::to_owned);
        let line = typed(&names);
        assert_eq!(line, "档案 'a b' 'it'\\''s \"here\"' '$(x)' old=new '=ls' --help");
        assert_eq!(shell_words::split(&line).unwrap(), names);
    }
}
