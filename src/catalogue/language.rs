//! Which language a person is spoken to in.

use std::ffi::OsString;

/// A language that there is a catalogue of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    English,
    /// In simplified characters.
    Chinese,
}

/// In the order in which they count (POSIX, "Internationalization Variables"): the first that is set and not empty.
const VARIABLES: [&str; 3] = ["LC_ALL", "LC_MESSAGES", "LANG"];

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
    pub fn chosen(flag: Option<Self>, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        flag.unwrap_or_else(|| {
            let set = VARIABLES.iter().filter_map(|name| variable(name)).find(|value| !value.is_empty());
            set.map_or(Self::English, |locale| Self::of_locale(&locale.to_string_lossy()))
        })
    }

    /// A locale is `language[_TERRITORY][.charset][@modifier]`. Where its charset is not UTF-8 the terminal would show
    /// our characters wrong: it gets English.
    fn of_locale(locale: &str) -> Self {
        let locale = locale.split('@').next().unwrap_or_default();
        let (name, charset) = locale.split_once('.').unwrap_or((locale, "UTF-8"));
        let language = name.split(['_', '-']).next().unwrap_or_default();
        let is_utf8 = charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8");
        if is_utf8 && language.eq_ignore_ascii_case("zh") { Self::Chinese } else { Self::English }
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
        let table: [(&[(&str, &str)], Language); 9] = [
            (&[], English),
            (&[("LANG", "zh_CN.UTF-8")], Chinese),
            (&[("LC_MESSAGES", "zh_CN.UTF-8"), ("LANG", "en_US.UTF-8")], Chinese),
            (&[("LC_MESSAGES", "en_US.UTF-8"), ("LANG", "zh_CN.UTF-8")], English),
            (&[("LC_ALL", "C"), ("LC_MESSAGES", "zh_CN.UTF-8"), ("LANG", "zh_CN.UTF-8")], English),
            (&[("LC_ALL", "zh_CN.UTF-8"), ("LANG", "C")], Chinese),
            (&[("LC_ALL", ""), ("LC_MESSAGES", ""), ("LANG", "zh_CN.UTF-8")], Chinese),
            (&[("LC_CTYPE", "zh_CN.UTF-8")], English),
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
        for locale in [
            "zh",
            "zh_CN",
            "zh_CN.UTF-8",
            "zh_CN.utf8",
            "zh_SG",
            "zh_TW.UTF-8",
            "zh_HK",
            "zh-CN",
            "zh_CN.UTF-8@radical",
        ] {
            assert_eq!(of(locale), Language::Chinese, "{locale}");
        }
        for locale in
            ["C", "POSIX", "C.UTF-8", "en_US.UTF-8", "de_DE", "zh_CN.GBK", "zh_CN.GB18030", "zh_TW.Big5", "zhx"]
        {
            assert_eq!(of(locale), Language::English, "{locale}");
        }
    }
}
