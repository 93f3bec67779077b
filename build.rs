//! Reads the sentences of `src/catalogue/{en,zh}` and writes what the crate compiles of them: the table of all sentences, and
//! the macro `message!`, which has one rule for each key.
//!
//! So a key that is not there, a value that is forgotten or misspelled, and a sentence that nobody uses are errors of the
//! compiler, and a sentence that one language lacks is an error of this build. Nothing is parsed when the program starts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const FOLDER: &str = "src/catalogue";
/// The first one decides which sentences there are, and in which order values are given.
const LANGUAGES: [&str; 2] = ["en", "zh"];

fn main() {
    println!("cargo::rerun-if-changed={FOLDER}/en");
    println!("cargo::rerun-if-changed={FOLDER}/zh");
    let written = read_all().and_then(|catalogue| {
        let target = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
        write(&target.join("sentences.rs"), &table(&catalogue))?;
        write(&target.join("message.rs"), &message_macro(&catalogue))
    });
    if let Err(why) = written {
        why.lines().for_each(|line| println!("cargo::error={line}"));
    }
}

/// A sentence and where it stands.
struct Sentence {
    text: String,
    /// Each once, in the order of their first use.
    values: Vec<String>,
    place: String,
}

/// A key and its sentence in each of the languages.
type Catalogue = BTreeMap<String, Vec<Sentence>>;

fn read_all() -> Result<Catalogue, String> {
    let mut catalogue = Catalogue::new();
    let mut wrong = Vec::new();
    for (number, language) in LANGUAGES.iter().enumerate() {
        for file in files(&Path::new(FOLDER).join(language))? {
            read(&file, number, &mut catalogue, &mut wrong)?;
        }
    }
    for (key, sentences) in &catalogue {
        let [english, others @ ..] = sentences.as_slice() else { continue };
        if sentences.len() < LANGUAGES.len() {
            wrong.push(format!("{}: `{key}` is missing in another language", english.place));
        }
        for other in others {
            let sorted = |sentence: &Sentence| {
                let mut values = sentence.values.clone();
                values.sort();
                values
            };
            if sorted(english) != sorted(other) {
                wrong.push(format!("{}: `{key}` has other values than at {}", other.place, english.place));
            }
        }
    }
    if wrong.is_empty() { Ok(catalogue) } else { Err(wrong.join("\n")) }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    Ok(files)
}

fn read(file: &Path, language: usize, catalogue: &mut Catalogue, wrong: &mut Vec<String>) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let place = format!("{}:{}", file.display(), index + 1);
        let Some((key, text)) = line.split_once('=').map(|(key, text)| (key.trim(), text.trim())) else {
            wrong.push(format!("{place}: not `key = sentence`"));
            continue;
        };
        let values = match values(text) {
            Ok(values) => values,
            Err(why) => {
                wrong.push(format!("{place}: `{key}`: {why}"));
                Vec::new()
            }
        };
        let sentence = Sentence { text: text.to_owned(), values, place: place.clone() };
        let sentences = catalogue.entry(key.to_owned()).or_default();
        match sentences.len().cmp(&language) {
            std::cmp::Ordering::Equal => sentences.push(sentence),
            std::cmp::Ordering::Less => wrong.push(format!("{place}: `{key}` is not there in {}", LANGUAGES[0])),
            std::cmp::Ordering::Greater => wrong.push(format!("{place}: `{key}` is there twice")),
        }
    }
    Ok(())
}

/// The names of a sentence's values; an error where a placeholder is none (src/catalogue/mod.rs says which there are).
fn values(sentence: &str) -> Result<Vec<String>, String> {
    let mut values: Vec<String> = Vec::new();
    let sentence = sentence.replace("{{", "").replace("}}", "");
    let mut rest = sentence.as_str();
    while let Some(place) = rest.find(['{', '}']) {
        let Some(inside) = rest[place..].strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
            return Err(format!("a brace without another at `{}`", &rest[place..]));
        };
        rest = inside.1;
        let parts: Vec<&str> = inside.0.split('|').collect();
        let (name, form) = parts[0].split_once(':').unwrap_or((parts[0], ""));
        let is_name = name.starts_with(|letter: char| letter.is_ascii_lowercase())
            && name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_' || letter.is_ascii_digit());
        if !is_name || !["", "size", "time", "lines"].contains(&form) || ![1, 3].contains(&parts.len()) {
            return Err(format!(
                "`{{{}}}` is neither a value, a size, a time, lines nor a choice of two forms",
                inside.0
            ));
        }
        if !values.iter().any(|known| known == name) {
            values.push(name.to_owned());
        }
    }
    Ok(values)
}

/// Sorted by key, for a binary search.
fn table(catalogue: &Catalogue) -> String {
    let mut table = String::from("&[\n");
    for (key, sentences) in catalogue {
        let texts: Vec<String> = sentences.iter().map(|sentence| format!("{:?}", sentence.text)).collect();
        let _ = writeln!(table, "    ({key:?}, [{}]),", texts.join(", "));
    }
    table.push(']');
    table
}

fn message_macro(catalogue: &Catalogue) -> String {
    let mut rules = String::new();
    for (key, sentences) in catalogue {
        let values = &sentences[0].values;
        let pattern: String = values.iter().map(|name| format!(", {name} = ${name}:expr")).collect();
        let given: String = values.iter().map(|name| format!("({name:?}, (&${name}).to_value()), ")).collect();
        let made = match values.is_empty() {
            true => format!("$crate::report::Message::without_values({key:?})"),
            // By method call, so that a reference to a message is taken as the message.
            false => format!(
                "{{ use $crate::report::ToValue as _; $crate::report::Message::with_values({key:?}, ::std::vec![{given}]) }}"
            ),
        };
        let _ = writeln!(rules, "    ({key:?}{pattern} $(,)?) => {{ {made} }};");
        let takes = match values.is_empty() {
            true => "no values".to_owned(),
            false => values.iter().map(|name| format!("{name} = …")).collect::<Vec<_>>().join(", "),
        };
        let why = format!("the sentence `{key}` takes: {takes} (in this order)");
        let _ = writeln!(rules, "    ({key:?} $($other:tt)*) => {{ ::std::compile_error!({why:?}) }};");
    }
    let why = "there is no such sentence: add it to src/catalogue/en and src/catalogue/zh";
    format!(
        "/// A sentence of the catalogue with its values: `message!(\"hint-add-path\", name = \"images\")`.\n\
         #[deny(unused_macro_rules)]\nmacro_rules! message {{\n{rules}    ($($other:tt)*) => {{ ::std::compile_error!({why:?}) \
         }};\n}}\n"
    )
}

/// Leaves the file alone where nothing changed, so that nothing is compiled again.
fn write(path: &Path, text: &str) -> Result<(), String> {
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
