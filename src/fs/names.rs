//! Names that may become part of a path.

/// Turns any name into one that is a single, harmless path component, so that two names never meet in one file.
///
/// `A-Z a-z 0-9 . _ -` stay as they are; every other byte becomes `%` and two hex digits, and so does a leading
/// dot, which would hide the file or lead out of the folder. The empty name becomes `%`.
pub fn escape(name: &str) -> String {
    if name.is_empty() {
        return "%".to_owned();
    }
    let mut escaped = String::with_capacity(name.len());
    for (index, byte) in name.bytes().enumerate() {
        match byte {
            b'.' if index == 0 => escaped.push_str("%2E"),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => escaped.push(byte as char),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Serializes a path as what is shown of it: a name that is not UTF-8 is no reason to write no document at all.
pub fn serialize_shown<S: serde::Serializer>(path: &std::path::Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_lead_elsewhere_stay_in_the_folder() {
        assert_eq!(escape(".."), "%2E.");
        assert_eq!(escape("../../etc/passwd"), "%2E.%2F..%2Fetc%2Fpasswd");
        assert_eq!(escape("expert"), "expert");
        assert_eq!(escape("a b;\"c"), "a%20b%3B%22c");
    }

    #[test]
    fn a_path_that_is_not_utf_8_is_written_as_it_is_shown() {
        #[derive(serde::Serialize)]
        struct Document {
            #[serde(serialize_with = "serialize_shown")]
            path: std::path::PathBuf,
        }
        let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"/p\xff/x");
        let text = serde_json::to_string(&Document { path: name.into() }).unwrap();
        assert_eq!(text, "{\"path\":\"/p\u{fffd}/x\"}");
    }

    proptest! {
        #[test]
        fn two_names_never_meet(a in ".{0,12}", b in ".{0,12}") {
            prop_assert_eq!(a == b, escape(&a) == escape(&b));
        }

        #[test]
        fn an_escaped_name_is_one_plain_component(name in any::<String>()) {
            let escaped = escape(&name);
            prop_assert!(escaped.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-%".contains(&byte)));
            prop_assert!(!escaped.starts_with('.') && !escaped.is_empty());
        }
    }
}
