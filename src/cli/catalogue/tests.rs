use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;

use super::*;

const BOTH: [(Language, &[&str]); 2] = [(Language::English, ENGLISH), (Language::Chinese, CHINESE)];

fn filled(sentence: &str, values: &[(&'static str, &str)]) -> String {
    let values: Vec<_> = values.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
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
fn a_value_is_never_read_as_a_placeholder() {
    assert_eq!(filled("{a} {b}", &[("a", "{b}"), ("b", "}{")]), "{b} }{");
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

#[test]
fn every_key_is_there_once_in_each_language() {
    for (language, texts) in BOTH {
        let mut seen = BTreeSet::new();
        let twice: Vec<&str> = lines(texts).map(|(key, _)| key).filter(|key| !seen.insert(*key)).collect();
        assert!(twice.is_empty(), "{language:?}: {twice:?}");
    }
}

#[test]
fn both_languages_have_the_same_keys_in_the_same_files_and_order() {
    for (english, chinese) in ENGLISH.iter().zip(CHINESE) {
        let keys = |text: &&'static str| {
            let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
            let keys = lines.into_iter().filter_map(|line| line.split_once('=')).map(|(key, _)| key.trim());
            keys.collect::<Vec<_>>()
        };
        let (english, chinese) = (keys(english), keys(chinese));
        let only = |these: &[&'static str], those: &[&'static str]| {
            these.iter().filter(|key| !those.contains(key)).copied().collect::<Vec<_>>()
        };
        let (no_chinese, no_english) = (only(&english, &chinese), only(&chinese, &english));
        assert!(
            no_chinese.is_empty() && no_english.is_empty(),
            "no Chinese: {no_chinese:?}, no English: {no_english:?}"
        );
        assert_eq!(english, chinese);
    }
}

/// The placeholders of a sentence, with their forms where they have one.
pub(super) fn placeholders(sentence: &str) -> BTreeSet<String> {
    let placeholder = Regex::new(r"\{([a-z_]+(?::[a-z]+)?)[|}]").unwrap();
    placeholder.captures_iter(sentence).map(|name| name[1].to_owned()).collect()
}

#[test]
fn both_languages_have_the_same_placeholders() {
    let chinese: HashMap<&str, &str> = lines(CHINESE).collect();
    let differing: Vec<&str> = lines(ENGLISH)
        .filter(|(key, sentence)| chinese.get(key).is_some_and(|other| placeholders(other) != placeholders(sentence)))
        .map(|(key, _)| key)
        .collect();
    assert!(differing.is_empty(), "{differing:?}");
}

#[test]
fn every_placeholder_has_a_form_that_there_is() {
    let any = Regex::new(r"\{[^{}]*\}").unwrap();
    let known = Regex::new(r"^\{[a-z_]+(:size|:time|\|[^|{}]*\|[^|{}]*)?\}$").unwrap();
    for (language, texts) in BOTH {
        for (key, sentence) in lines(texts) {
            let sentence = sentence.replace("{{", "").replace("}}", "");
            for placeholder in any.find_iter(&sentence) {
                assert!(known.is_match(placeholder.as_str()), "{language:?}: {key}: {}", placeholder.as_str());
            }
        }
    }
}

/// None was left as it was in English, but for words that are the same.
#[test]
fn every_chinese_sentence_is_chinese() {
    const SAME: [&str; 3] = ["column-id", "column-cpu", "word-blob"];
    let placeholder = Regex::new(r"\{[^}]*\}").unwrap();
    let is_english = |sentence: &str| {
        let text = placeholder.replace_all(sentence, "");
        let is_chinese = text.chars().any(|letter| ('\u{4e00}'..='\u{9fff}').contains(&letter));
        !is_chinese && text.chars().any(|letter| letter.is_ascii_alphabetic())
    };
    let english: Vec<&str> = lines(CHINESE)
        .filter(|(key, sentence)| is_english(sentence) && !SAME.contains(key))
        .map(|(key, _)| key)
        .collect();
    assert!(english.is_empty(), "{english:?}");
}

/// Every key that the source names.
fn used() -> BTreeSet<String> {
    fn walk(folder: &Path, texts: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                walk(&path, texts);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                texts.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut texts = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut texts);
    let call = Regex::new(r#"(?:Message::new|\bword)\(\s*"([a-z0-9-]+)",?\s*\)"#).unwrap();
    // Keys that are chosen before they are used: by their beginning, or as what a match gives.
    let chosen = [
        Regex::new(r#"(?:=> |\{\s*)"([a-z]+-[a-z0-9]+-[a-z0-9-]+)"\s*[,}]"#).unwrap(),
        Regex::new(r#""((?:column|word|fact|state|health|need|why|lock|label)-[a-z0-9-]+)""#).unwrap(),
    ];
    let mut used = BTreeSet::new();
    for text in &texts {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        used.extend(call.captures_iter(code).map(|found| found[1].to_owned()));
        for chosen in &chosen {
            used.extend(chosen.captures_iter(code).map(|found| found[1].to_owned()));
        }
    }
    used
}

#[test]
fn every_key_that_the_program_uses_has_a_sentence_and_every_sentence_is_used() {
    let known: BTreeSet<String> = lines(ENGLISH).map(|(key, _)| key.to_owned()).collect();
    let used = used();
    let missing: Vec<&String> = used.difference(&known).collect();
    let unused: Vec<&String> = known.difference(&used).collect();
    assert!(missing.is_empty() && unused.is_empty(), "missing: {missing:?}\nunused: {unused:?}");
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
    for (language, texts) in BOTH {
        let catalogue = Catalogue::of(language);
        let mut page = String::new();
        for (key, sentence) in lines(texts) {
            let fill = |one: bool| {
                let values = placeholders(sentence).into_iter().map(|placeholder| {
                    let value = if one { "1" } else { sample(&placeholder) };
                    let name = placeholder.split(':').next().unwrap_or_default().to_owned();
                    (&*Box::leak(name.into_boxed_str()), value.to_owned())
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
