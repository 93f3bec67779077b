use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::*;

/// Each sentence of a language with its key.
fn lines(language: Language) -> impl Iterator<Item = (&'static str, &'static str)> {
    SENTENCES.iter().map(move |(key, sentences)| (*key, sentences[language as usize]))
}

fn filled(sentence: &str, values: &[(&'static str, &str)]) -> String {
    let values: Vec<_> = values.iter().map(|(name, value)| (*name, Value::Text((*value).to_owned()))).collect();
    Catalogue::english().fill(sentence, &values)
}

#[test]
fn values_and_plurals_are_filled_in() {
    let values = [("count", "1"), ("what", "redis")];
    assert_eq!(filled("{count} {count|image|images}: {what}", &values), "1 image: redis");
    assert_eq!(filled("{count|image|images}", &[("count", "2")]), "images");
    assert_eq!(filled("{bytes:size} in {time:time}", &[("bytes", "27300000"), ("time", "0.4")]), "27.3 MB in 0.4 s");
    assert_eq!(filled("{{ \"{name}\": 1 }}", &[("name", "a")]), "{ \"a\": 1 }");
}

#[test]
fn names_are_listed_as_the_language_does_it() {
    let message = message!("words", text = crate::report::Listed::of(["redis", "web"]));
    let said = Language::ALL.map(|language| Catalogue::of(language).text(&message));
    assert_eq!(said, ["redis, web", "redis、web"]);
}

#[test]
fn a_value_is_never_read_as_a_placeholder() {
    assert_eq!(filled("{a} {b}", &[("a", "{b}"), ("b", "}{")]), "{b} }{");
}

#[test]
fn a_value_moves_no_cursor_and_colours_nothing() {
    assert_eq!(filled("{a}", &[("a", "a\u{1b}[31m\u{7}\u{9b}2J\r\n\tb")]), "a\\u{1b}[31m\\u{7}\\u{9b}2J\\r\n\tb");
    let names = message!("words", text = crate::report::Listed::of(["a\u{8}", "b"]));
    assert_eq!(english(&names), "a\\u{8}, b");
}

#[test]
fn durations_read_as_people_say_them() {
    let said = |language| {
        let catalogue = Catalogue::of(language);
        let ago = [5, 500, 50_000, 500_000].map(|seconds| catalogue.ago(Duration::from_secs(seconds)));
        [catalogue.seconds(0.4), catalogue.seconds(12.3), catalogue.seconds(200.0), ago.join(" / ")].join(", ")
    };
    assert_eq!(said(Language::English), "0.4 s, 12 s, 3 min 20 s, 5 s / 8 min / 13 h / 5 d");
    assert_eq!(said(Language::Chinese), "0.4 秒, 12 秒, 3 分 20 秒, 5 秒 / 8 分钟 / 13 小时 / 5 天");
}

/// The placeholders of a sentence, with their forms where they have one.
fn placeholders(sentence: &str) -> BTreeSet<String> {
    let placeholder = Regex::new(r"\{([a-z_]+(?::[a-z]+)?)[|}]").unwrap();
    placeholder.captures_iter(sentence).map(|name| name[1].to_owned()).collect()
}

/// What loads leave for the way back is no release.
#[test]
fn a_release_is_what_dpl_release_makes_and_nothing_else() {
    for (language, word) in [(Language::English, "release"), (Language::Chinese, "发布版本")] {
        let says = |prefix: &str| -> Vec<&'static str> {
            let said = lines(language).filter(|(key, sentence)| key.starts_with(prefix) && sentence.contains(word));
            said.map(|(key, _)| key).collect()
        };
        assert!(says("release-").contains(&"release-created"), "the control");
        for prefix in ["images-", "why-", "load-", "confirm-engine-", "will-prune-"] {
            assert_eq!(says(prefix), [] as [&str; 0], "{word}");
        }
    }
}

/// None was left as it was in English, but for words that are the same.
#[test]
fn every_chinese_sentence_is_chinese() {
    const SAME: [&str; 4] = ["column-id", "column-cpu", "noun-env-file", "hint-site-attach"];
    let placeholder = Regex::new(r"\{[^}]*\}").unwrap();
    let is_english = |sentence: &str| {
        let text = placeholder.replace_all(sentence, "");
        let is_chinese = text.chars().any(|letter| ('\u{4e00}'..='\u{9fff}').contains(&letter));
        !is_chinese && text.chars().any(|letter| letter.is_ascii_alphabetic())
    };
    let english: Vec<&str> = lines(Language::Chinese)
        .filter(|(key, sentence)| is_english(sentence) && !SAME.contains(key))
        .map(|(key, _)| key)
        .collect();
    assert!(english.is_empty(), "{english:?}");
}

/// Commands, paths and the like are in backticks or stand alone; three English words in a row are a phrase that was left.
#[test]
fn no_chinese_sentence_has_an_english_phrase_in_it() {
    let left_out = Regex::new(r"`[^`]*`|\{[^}]*\}|\([^)]*\)|（[^）]*）").unwrap();
    let phrase = Regex::new(r"\b[a-z]{2,} [a-z]{2,} [a-z]{2,}\b").unwrap();
    assert!(phrase.is_match("无法读取 it is not there"), "the pattern finds one");
    let found: Vec<&str> = lines(Language::Chinese)
        .filter(|(_, sentence)| {
            let text = left_out.replace_all(sentence, "");
            phrase.find_iter(&text).any(|words| !words.as_str().starts_with("dpl ") && !words.as_str().contains(" db "))
        })
        .map(|(key, _)| key)
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn chinese_sentences_have_words_for_blobs_and_for_json_objects_beside_targets() {
    let placeholder = Regex::new(r"\{[^}]*\}").unwrap();
    let chinese: Vec<(&'static str, String)> = lines(Language::Chinese)
        .map(|(key, sentence)| (key, placeholder.replace_all(sentence, "").into_owned()))
        .collect();
    assert!(lines(Language::English).any(|(_, sentence)| sentence.contains("blob")), "the control");
    let with = |word: &str| -> Vec<&'static str> {
        chinese.iter().filter(|(_, sentence)| sentence.contains(word)).map(|(key, _)| *key).collect()
    };
    assert_eq!(with("blob"), [] as [&str; 0]);
    assert_eq!(with("应为对象"), [] as [&str; 0]);
}

/// What stands for a placeholder, `name` or `name:form`, in a sample.
fn sample(placeholder: &str) -> &'static str {
    match placeholder {
        bytes if bytes.ends_with(":size") => "27300000",
        seconds if seconds.ends_with(":time") => "200",
        "size" | "freed" | "bytes" | "new" | "free" => "27.3 MB",
        "database" => "expert",
        "targets" | "stops" | "names" | "by" | "open" => "metis-api, metis_worker",
        "service" | "name" => "metis-api",
        "path" | "folder" | "store" | "output" | "target" => "/srv/danganju",
        "reference" => "expert/expert_api:latest",
        "id" | "image" | "becomes" => "0123456789ab",
        "was" | "is" => "fedcba987654",
        "container" | "containers" => "danganju-metis-api-1",
        "user" => "ops",
        "host" => "prod",
        "since" | "at" => "2026-01-31T08:00:00Z",
        "what" | "command" => "dpl load 17..25",
        "why" | "reason" => "connection refused",
        "holder" => "nginx (7)",
        "chain" => "\"3 - 25\"",
        "fields" => "image, environment.LEVEL",
        "port" => "6380",
        _ => "3",
    }
}

#[test]
fn every_sentence_reads_well_in_both_languages() {
    for language in Language::ALL {
        let catalogue = Catalogue::of(language);
        let mut page = String::new();
        for (key, sentence) in lines(language) {
            let fill = |one: bool| {
                let values = placeholders(sentence).into_iter().map(|placeholder| {
                    let value = if one { "1" } else { sample(&placeholder) };
                    let name = placeholder.split(':').next().unwrap_or_default().to_owned();
                    (&*Box::leak(name.into_boxed_str()), Value::Text(value.to_owned()))
                });
                catalogue.fill(sentence, &values.collect::<Vec<_>>())
            };
            page.push_str(&format!("{key}: {}\n", fill(false)));
            // The singular as well, where there is one.
            if sentence.contains('|') {
                page.push_str(&format!("{key} (1): {}\n", fill(true)));
            }
        }
        let name = match language {
            Language::English => "english",
            Language::Chinese => "chinese",
        };
        insta::assert_snapshot!(name, page);
    }
}

#[test]
fn a_message_names_its_sentence_and_carries_its_values() {
    let message = message!("hint-add-path", name = 1 + 1);
    assert_eq!((message.key, message.values), ("hint-add-path", vec![("name", Value::Text("2".to_owned()))]));
}

#[test]
fn a_sentence_inside_a_sentence_is_in_the_same_language() {
    let why = message!("chain-empty");
    let message = message!("usage-not-a-chain", text = "-", why = &why);
    let said = [Language::English, Language::Chinese].map(|language| Catalogue::of(language).text(&message));
    assert_eq!(said, ["`-` is not a valid chain: it is empty", "`-` 不是有效的操作链：内容为空"]);
}

/// The words of a text outside of code; of a Chinese one its characters.
fn words_outside_code(text: &str, language: Language) -> Vec<String> {
    static FORMS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\{[a-z_]+\|([^|}]*)\|[^}]*\}").unwrap());
    static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\{[^{}]*\}").unwrap());
    let plain = text.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let plain = FORMS.replace_all(&plain, "$1");
    let plain = PLACEHOLDER.replace_all(&plain, " ");
    match language {
        Language::English => {
            let words = plain.split(|letter: char| !letter.is_alphabetic());
            words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
        }
        Language::Chinese => {
            plain.chars().filter(|letter| ('\u{4e00}'..='\u{9fff}').contains(letter)).map(String::from).collect()
        }
    }
}

/// People look for a hint by its text: where a sentence is changed, its row has to be changed, too.
#[test]
fn the_hints_of_the_troubleshooting_pages_are_said_so_by_the_program() {
    let in_order = |words: &[String], sentence: &[String]| {
        let mut rest = sentence.iter();
        words.iter().all(|word| rest.any(|other| other == word))
    };
    let pages = [
        (Language::English, "docs/troubleshooting.md", "on the screen", 3),
        (Language::Chinese, "docs/zh/troubleshooting.md", "屏幕上的提示", 5),
    ];
    for (language, page, title, fewest) in pages {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let text = std::fs::read_to_string(&path).unwrap();
        let sentences: Vec<_> = lines(language).map(|(_, sentence)| words_outside_code(sentence, language)).collect();
        let cells =
            text.lines().filter_map(|line| Some(line.strip_prefix("| ")?.split(" | ").next().unwrap_or_default()));
        let mut looked_at = 0;
        for cell in cells.filter(|cell| *cell != title) {
            let plain = cell.split('`').step_by(2).collect::<Vec<_>>().join(" ");
            // What stands for a name or for the rest of the sentence.
            for part in plain.split('…') {
                let words = words_outside_code(part, language);
                if words.len() >= fewest {
                    looked_at += 1;
                    let is_said = sentences.iter().any(|sentence| in_order(&words, sentence));
                    assert!(is_said, "{page}: no sentence says {part:?}");
                }
            }
        }
        assert!(looked_at > 60, "{page}: {looked_at}");
    }
}
