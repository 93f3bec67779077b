use super::*;
use proptest::prelude::*;

#[test]
fn a_range_is_written_with_any_dash_and_an_exclamation_mark_alone_is_told() {
    for text in ["3-5", "3..5", "3~5", "3～5", "3–5", "3—5", "3——5", "３～５"] {
        let names = choices().select(&[text]).unwrap_or_else(|error| panic!("{text}: {error}")).into_names();
        assert_eq!(names, ["metis-api", "metis_worker", "metis_worker_gpu"], "{text}");
    }
    for text in ["!", "！", "1,!"] {
        let said = choices().select(&[text]).unwrap_err().to_string();
        assert!(said.contains("leaves out"), "{text}: {said}");
    }
}

fn choices() -> Choices {
    let names = ["postgres", "redis", "metis-api", "metis_worker", "metis_worker_gpu", "nginx"];
    Choices {
        noun: Noun::Service,
        entries: names
            .iter()
            .enumerate()
            .map(|(place, name)| Choice {
                number: place + 1,
                name: (*name).to_owned(),
                groups: if name.starts_with("metis") { vec!["metis".to_owned()] } else { Vec::new() },
            })
            .filter(|choice| choice.number != 2)
            .collect(),
        removed: vec![(2, "redis".to_owned())],
        first_number: 1,
        last_number: 6,
    }
}

fn select(text: &str) -> Result<Vec<String>, String> {
    choices().select(&[text]).map(Selection::into_names).map_err(|error| error.to_string())
}

#[test]
fn what_names_nothing_never_means_all() {
    for text in ["", " ", "[]", ",", "[ , ]", "，", "【】", "［、］", "　"] {
        let error = select(text).unwrap_err();
        assert_eq!(error, format!("name the services: `{}` chooses none", text.trim()), "{text:?}");
    }
    assert!(choices().select::<&str>(&[]).is_err());
    assert!(choices().select(&["[", "]"]).is_err());
}

#[test]
fn all_and_all_but_are_told_from_what_is_named() {
    let only_by_all = |text: &str| {
        let selection = choices().select(&[text]).unwrap();
        selection.names().iter().filter(|name| selection.is_only_by_all(name)).count()
    };
    for (text, count) in
        [("all", 5), ("!4", 4), ("all，!4", 4), ("all nginx", 4), ("@metis", 0), ("1..6", 0), ("*", 0), ("!4 6", 0)]
    {
        assert_eq!(only_by_all(text), count, "{text}");
    }
}

#[test]
fn a_question_mark_stands_for_one_character_of_any_script() {
    let mut choices = choices();
    choices.entries[0].name = "数据库".to_owned();
    assert_eq!(choices.select(&["数??"]).unwrap().names(), ["数据库"]);
    assert!(choices.select(&["数?"]).is_err());
}

#[test]
fn every_form_chooses_by_number_and_each_once() {
    for (text, names) in [
        ("4", vec!["metis_worker"]),
        ("3..5", vec!["metis-api", "metis_worker", "metis_worker_gpu"]),
        ("1-3", vec!["postgres", "metis-api"]),
        ("[5, 3]", vec!["metis-api", "metis_worker_gpu"]),
        ("5,3,3..4", vec!["metis-api", "metis_worker", "metis_worker_gpu"]),
        ("metis_*", vec!["metis_worker", "metis_worker_gpu"]),
        ("@metis !4", vec!["metis-api", "metis_worker_gpu"]),
        ("!@metis", vec!["postgres", "nginx"]),
        ("all,!nginx,!3..5", vec!["postgres"]),
        ("【３，４】", vec!["metis-api", "metis_worker"]),
        ("metis-api", vec!["metis-api"]),
    ] {
        assert_eq!(select(text), Ok(names.into_iter().map(str::to_owned).collect()), "{text}");
    }
}

#[test]
fn lists_that_the_shell_cut_are_put_together_again() {
    assert_eq!(choices().select(&["[4,", "5]"]).unwrap().names(), ["metis_worker", "metis_worker_gpu"]);
}

#[test]
fn what_matches_nothing_says_what_there_is() {
    for (text, message) in [
        ("7", "service 7 does not exist: the numbers go from 1 to 6"),
        ("0", "service 0 does not exist: the numbers go from 1 to 6"),
        ("2", "number 2 is empty: `redis` was removed"),
        ("99999999999999999999", "service 99999999999999999999 does not exist: the numbers go from 1 to 6"),
        ("4..9", "services 4..9 do not all exist: the numbers go from 1 to 6"),
        ("1-7", "services 1-7 do not all exist: the numbers go from 1 to 6"),
        ("0..3", "services 0..3 do not all exist: the numbers go from 1 to 6"),
        ("all !4..9", "services 4..9 do not all exist: the numbers go from 1 to 6"),
        ("3..", "`3..` is not a range: write both ends, as in 17..25"),
        ("5..3", "`5..3` runs backwards: write 3..5"),
        ("metis_wroker", "unknown service `metis_wroker`: did you mean `metis_worker`?"),
        ("kafka", "unknown service `kafka`: `dpl list` shows all of them"),
        ("x*", "no service matches `x*`"),
        ("@mtis", "unknown group `@mtis`: did you mean `@metis`?"),
        ("@platform", "unknown group `@platform`: the groups are @metis"),
        ("4 !4", "no service is left of `4 !4`"),
        ("[4", "the brackets of `[4` don't match"),
        ("4]", "the brackets of `4]` don't match"),
    ] {
        assert_eq!(select(text).unwrap_err(), message, "{text}");
    }
}

#[test]
fn a_name_that_is_no_word_is_chosen_by_the_whole_argument() {
    let mut choices = choices();
    choices.entries[0].name = "x; drop, all".to_owned();
    assert_eq!(choices.select(&["x; drop, all"]).unwrap().names(), ["x; drop, all"]);
}

#[test]
fn names_that_read_otherwise_are_known() {
    for name in ["12", "3-4", "3..4", "all", "@x", "!x", "5-3", "1-"] {
        assert!(reads_as_selector(name), "{name}");
    }
    for name in ["metis-api", "v2", "1st", "a..b"] {
        assert!(!reads_as_selector(name), "{name}");
    }
}

#[test]
fn data_folders_are_numbered_behind_the_databases() {
    use crate::manifest::model::{Data, Database};
    let mut manifest = Manifest::default();
    manifest.databases.push("d".to_owned(), Some(Database::default()));
    manifest.databases.push("gone".to_owned(), None);
    manifest.data.push("expert".to_owned(), Some(Data::default()));
    manifest.data.push("wheels".to_owned(), Some(Data::default()));
    let choices = Choices::data(&manifest);
    let chosen = |selector: &str| choices.select(&[selector]).map(Selection::into_names);
    assert_eq!(chosen("3").unwrap(), ["expert"]);
    assert_eq!(chosen("3..4").unwrap(), ["expert", "wheels"]);
    assert_eq!(chosen("w*").unwrap(), ["wheels"]);
    for number in ["1", "2..4", "5"] {
        let error = crate::catalogue::english(&chosen(number).unwrap_err().message());
        assert!(error.contains("from 3 to 4"), "{error}");
    }
}

fn numbered(last: usize) -> Choices {
    let entries = (1..=last).map(|number| Choice { number, name: format!("s{number}"), groups: Vec::new() });
    Choices { noun: Noun::Service, entries: entries.collect(), removed: Vec::new(), first_number: 1, last_number: last }
}

proptest! {
    #[test]
    fn numbers_ranges_and_exclusions_agree_with_a_naive_reading(
        terms in proptest::collection::vec((1..=30usize, 0..10usize, any::<bool>(), any::<bool>()), 1..8),
    ) {
        let mut text = Vec::new();
        let mut chosen = [false; 31];
        let mut left_out = [false; 31];
        for (first, length, exclude, dots) in &terms {
            let last = (first + length).min(30);
            let range = match (length, dots) {
                (0, _) => first.to_string(),
                (_, true) => format!("{first}..{last}"),
                (_, false) => format!("{first}-{last}"),
            };
            text.push(format!("{}{range}", if *exclude { "!" } else { "" }));
            for number in *first..=last {
                if *exclude { left_out[number] = true } else { chosen[number] = true }
            }
        }
        if terms.iter().all(|(_, _, exclude, _)| *exclude) {
            chosen = [true; 31];
        }
        let naive: Vec<String> =
            (1..=30).filter(|n| chosen[*n] && !left_out[*n]).map(|n| format!("s{n}")).collect();
        let selected = numbered(30).select(&[text.join(",")]);
        if naive.is_empty() {
            prop_assert!(selected.is_err());
        } else {
            prop_assert_eq!(selected.unwrap().into_names(), naive);
        }
    }

    #[test]
    fn no_text_at_all_makes_it_panic(text in any::<String>()) {
        let _ = numbered(5).select(&[text]);
    }
}
