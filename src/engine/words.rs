//! The engine's words: failures that no status code tells from others, each known by a piece of what the engine says.
//!
//! All such words stand here, with the program and the version that was seen to say them, so that a new engine is compared
//! with one table. What a status code tells is never looked for in words (`error.rs`).

use super::error::EngineErrorKind::{self, Failed, Refused};

/// What a failure means that only its words tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The runtime still has what an engine that was killed began for a container.
    StaleRuntimeTask,
    /// An image is just being removed: its layers go before its name.
    LayerGone,
    /// The engine's own disk is full.
    DiskFull,
}

struct Saying {
    meaning: Meaning,
    /// The kinds of failures that come with these words.
    kinds: &'static [EngineErrorKind],
    /// In small letters.
    words: &'static str,
}

const SAYINGS: [Saying; 5] = [
    // libcontainerd of dockerd 20.10, with containerd 1.6.
    Saying { meaning: Meaning::StaleRuntimeTask, kinds: &[Failed], words: "id already in use" },
    // containerd 1.7, with dockerd 26 and 28: `failed to create task for container: task ID: already exists`.
    Saying { meaning: Meaning::StaleRuntimeTask, kinds: &[Failed], words: ": already exists" },
    // moby, `layer.ErrLayerDoesNotExist`: dockerd 20.10 and later, when images are listed or inspected.
    Saying { meaning: Meaning::LayerGone, kinds: &[Failed], words: "layer does not exist" },
    // `strerror` of ENOSPC and EDQUOT, behind whatever was written: the words of the system, in every version.
    Saying { meaning: Meaning::DiskFull, kinds: &[Failed, Refused], words: "no space left on device" },
    Saying { meaning: Meaning::DiskFull, kinds: &[Failed, Refused], words: "disk quota exceeded" },
];

/// Whether a failure of this kind, of which the engine says this, has the meaning.
pub(super) fn say(meaning: Meaning, kind: EngineErrorKind, said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    let mut of_meaning = SAYINGS.iter().filter(|saying| saying.meaning == meaning && saying.kinds.contains(&kind));
    of_meaning.any(|saying| said.contains(saying.words))
}

#[cfg(test)]
mod tests {
    use bollard::errors::Error as ApiError;

    use super::*;
    use crate::engine::EngineError;

    /// An answer of an engine as it was seen, by its status code; 0 for words in the middle of a stream.
    const SEEN: [(u16, &str, Option<Meaning>); 12] = [
        (500, "id already in use", Some(Meaning::StaleRuntimeTask)),
        (
            500,
            "failed to create task for container: task 0123: already exists: unknown",
            Some(Meaning::StaleRuntimeTask),
        ),
        (409, "Conflict. The container name \"/a\" is already in use", None),
        (404, "task not found: already exists", None),
        (500, "driver failed programming external connectivity: port is already allocated", None),
        (500, "layer does not exist", Some(Meaning::LayerGone)),
        (404, "layer does not exist", None),
        (500, "open /var/lib/docker/image: input/output error", None),
        (0, "Error processing tar file(exit status 1): write /x: no space left on device", Some(Meaning::DiskFull)),
        (500, "failed to commit: write /x: disk quota exceeded", Some(Meaning::DiskFull)),
        (400, "write /x: No space left on device", Some(Meaning::DiskFull)),
        (0, "unexpected EOF", None),
    ];

    fn error(status_code: u16, said: &str) -> EngineError {
        let message = said.to_owned();
        let error = match status_code {
            0 => ApiError::DockerStreamError { error: message },
            _ => ApiError::DockerResponseServerError { status_code, message },
        };
        EngineError::new(message!("verb-load-object"), message!("object-archive"), error)
    }

    #[test]
    fn what_engines_were_seen_to_say_means_what_it_meant_and_nothing_else() {
        for (code, said, meaning) in SEEN {
            let error = error(code, said);
            let found = [
                (Meaning::StaleRuntimeTask, error.is_stale_runtime_task()),
                (Meaning::LayerGone, error.is_layer_gone()),
                (Meaning::DiskFull, error.is_disk_full()),
            ];
            let found: Vec<Meaning> =
                found.into_iter().filter(|(_, is_it)| *is_it).map(|(meaning, _)| meaning).collect();
            assert_eq!(found, Vec::from_iter(meaning), "{code} {said}");
        }
    }

    #[test]
    fn each_row_was_seen_and_is_in_small_letters() {
        for Saying { words, .. } in &SAYINGS {
            let is_seen = |(_, said, meaning): &(u16, &str, Option<Meaning>)| {
                meaning.is_some() && said.to_ascii_lowercase().contains(words)
            };
            assert!(SEEN.iter().any(is_seen), "{words}");
            assert_eq!(*words, words.to_ascii_lowercase());
        }
    }
}
