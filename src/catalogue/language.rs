//! Which language a person is spoken to in.

use std::ffi::OsString;

/// A language that there is a catalogue of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    English,
    /// In simplified characters.
    Chinese,
}

impl Language {
    pub const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// What `--lang` calls it.
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }

    /// The language of `--lang`, else that of the environment.
    ///
    /// A locale is `language[_TERRITORY][.charset][@modifier]`, and one without a charset is not in UTF-8 (glibc's `zh_CN` is
    /// GB2312): its terminal would show our characters wrong, so that it gets English. `nl_langinfo` is not asked: it knows
    /// only locales that are generated on this machine.
    pub fn chosen(flag: Option<Self>, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &'static str| {
            variable(name).filter(|value| !value.is_empty()).map(|value| value.to_string_lossy().into_owned())
        };
        // In the order in which they count (POSIX, "Internationalization Variables").
        let first = |names: [&'static str; 4]| names.into_iter().find_map(set);
        let messages = first(["LC_ALL", "LC_MESSAGES", "LANG", "LC_CTYPE"]).unwrap_or_default();
        let characters = first(["LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LANG"]).unwrap_or_default();
        // What has no charset of its own leaves the question to the variable of the messages.
        let charset = charset(&characters).or(charset(&messages)).unwrap_or_default();
        let is_utf8 = charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8");
        let language = messages.split(['_', '-', '.', '@']).next().unwrap_or_default();
        let in_environment = match is_utf8 && language.eq_ignore_ascii_case("zh") {
            true => Self::Chinese,
            false => Self::English,
        };
        flag.unwrap_or(in_environment)
    }
}

fn charset(locale: &str) -> Option<&str> {
    // macOS sets LC_CTYPE to a charset alone.
    match locale.split('@').next().unwrap_or_default() {
        alone @ ("UTF-8" | "utf8") => Some(alone),
        locale => Some(locale.split_once('.')?.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(flag: Option<Language>, set: &[(&str, &str)]) -> Language {
        Language::chosen(flag, |name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn the_first_variable_that_is_not_empty_decides() {
        use Language::{Chinese, English};
        let table: [(&[(&str, &str)], Language); 14] = [
            (&[], English),
            (&[("LANG", "zh_CN.UTF-8")], Chinese),
            (&[("LC_MESSAGES", "zh_CN.UTF-8"), ("LANG", "en_US.UTF-8")], Chinese),
            (&[("LC_MESSAGES", "en_US.UTF-8"), ("LANG", "zh_CN.UTF-8")], English),
            (&[("LC_ALL", "C"), ("LC_MESSAGES", "zh_CN.UTF-8"), ("LANG", "zh_CN.UTF-8")], English),
            (&[("LC_ALL", "zh_CN.UTF-8"), ("LANG", "C")], Chinese),
            (&[("LC_ALL", ""), ("LC_MESSAGES", ""), ("LANG", "zh_CN.UTF-8")], Chinese),
            (&[("LC_CTYPE", "zh_CN.UTF-8")], Chinese),
            (&[("LC_CTYPE", "zh_CN.UTF-8"), ("LANG", "en_US.UTF-8")], English),
            (&[("LC_CTYPE", "zh_CN.GBK"), ("LANG", "zh_CN.UTF-8")], English),
            (&[("LC_CTYPE", "en_US.UTF-8"), ("LANG", "zh_CN")], Chinese),
            (&[("LC_CTYPE", "UTF-8"), ("LANG", "zh_CN")], Chinese),
            (&[("LC_CTYPE", "C"), ("LANG", "zh_CN.UTF-8")], Chinese),
            (&[("LANGUAGE", "zh_CN")], English),
        ];
        for (set, language) in table {
            assert_eq!(chosen(None, set), language, "{set:?}");
            assert_eq!(chosen(Some(Chinese), set), Chinese, "the flag counts before {set:?}");
            assert_eq!(chosen(Some(English), set), English, "the flag counts before {set:?}");
        }
    }

    #[test]
    fn every_chinese_locale_in_utf_8_gets_chinese_and_all_else_english() {
        let of = |locale: &str| chosen(None, &[("LANG", locale)]);
        for locale in ["zh.UTF-8", "zh_CN.UTF-8", "zh_CN.utf8", "zh_TW.UTF-8", "zh-CN.UTF-8", "zh_CN.UTF-8@radical"] {
            assert_eq!(of(locale), Language::Chinese, "{locale}");
        }
        let others = ["C", "POSIX", "C.UTF-8", "en_US.UTF-8", "de_DE", "zhx.UTF-8"];
        let without_utf8 = ["zh", "zh_CN", "zh_SG", "zh_TW", "zh-CN", "zh_CN.GBK", "zh_CN.GB18030", "zh_TW.Big5"];
        for locale in others.into_iter().chain(without_utf8) {
            assert_eq!(of(locale), Language::English, "{locale}");
        }
    }
}
