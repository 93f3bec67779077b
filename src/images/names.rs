//! Names: of archives in the store's folder, of references for the engine, of images that are kept.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::fs::{Digest, escape};
use crate::images::formats::documents::{CONTAINERD_NAME, Descriptor, REF_NAME};
use crate::manifest::Reference;

/// The name of an image's archive without its suffixes: deploy.py's own (`metis-metis_worker_crypt`) where that can
/// be read back, else the whole reference, escaped.
///
/// deploy.py writes `/` as `-` and `:` as `_`, so several references can mean one name (`a_b:c` and `a:b_c`). One of
/// them owns it, the one that `read_deploy_name` reads there; the others get names with `%`, which it never has.
pub fn archive_name(reference: &Reference) -> String {
    let name = deploy_name(reference);
    let name = match read_deploy_name(&name) {
        Some(owner) if owner == tagged(reference) => name,
        _ => escape(&tagged(reference)),
    };
    if name.len() <= LONGEST_NAME_BYTES {
        return name;
    }
    // References are ASCII.
    format!("{}%{}", &name[..LONGEST_NAME_BYTES / 2], &Digest::of(tagged(reference).as_bytes()).hex()[..32])
}

/// Files have names of 255 bytes at most, and an archive's gets a suffix, and a mark and digits while it is written. Of a longer
/// one, its beginning and some digits of the reference's digest are left.
const LONGEST_NAME_BYTES: usize = 200;

/// The end of the name of an archive's first part.
pub(in crate::images) const FIRST_PART: &[u8] = b".001";

/// `FILE.001` of `FILE.002` and on, the later parts of a split archive; `None` for all other names.
pub(in crate::images) fn first_part(file: &Path) -> Option<PathBuf> {
    let name = file.file_name()?.as_bytes();
    let (stem, number) = name.split_at(name.len().checked_sub(FIRST_PART.len())?);
    let is_number = number[0] == b'.' && number[1..].iter().all(u8::is_ascii_digit);
    let is_later = is_number && number != b".000" && number != FIRST_PART && !stem.is_empty();
    is_later.then(|| file.with_file_name(OsStr::from_bytes(&[stem, FIRST_PART].concat())))
}

/// As [`archive_name`], in a folder that has these files. On a disk that ignores case, two images whose names differ in
/// nothing else must not share a file: the one that comes later gets some digits of its reference's digest.
pub fn archive_name_beside<'a>(reference: &Reference, files: impl IntoIterator<Item = &'a str>) -> String {
    let name = archive_name(reference);
    let mut is_other = false;
    for file in files {
        match file.get(..name.len()) {
            Some(same) if same == name && file[name.len()..].starts_with(".t") => return name,
            Some(similar) => is_other |= similar.eq_ignore_ascii_case(&name) && file[name.len()..].starts_with(".t"),
            None => {}
        }
    }
    if !is_other {
        return name;
    }
    // `%` with small letters behind it is in no other name.
    format!("{name}%{}", Digest::of(tagged(reference).as_bytes()).hex()[..8].to_ascii_lowercase())
}

fn deploy_name(reference: &Reference) -> String {
    let tag = reference.tag().unwrap_or_default();
    format!("{}_{tag}", reference.name().replace('/', "-"))
}

/// The reference that owns a name of deploy.py's. The field's images have one folder (`metis/`), underscores in
/// their names and a version or one word as tag: the first `-` is the slash, and the tag begins after the first `_`
/// that a version follows (`_v1.5_no_subtask`, `_15`), else after the last.
fn read_deploy_name(name: &str) -> Option<String> {
    let mut underscores = name.match_indices('_').map(|(at, _)| at);
    let is_version = |at: &usize| {
        let rest = name[at + 1..].trim_start_matches('v');
        rest.starts_with(|first: char| first.is_ascii_digit())
    };
    let colon = underscores.find(is_version).or_else(|| name.rfind('_'))?;
    let (repository, tag) = (&name[..colon], &name[colon + 1..]);
    Some(format!("{}:{tag}", repository.replacen('-', "/", 1)))
}

/// The name under which engines and stores know the image: with its tag, without a digest. `None` for a reference by
/// digest alone.
pub fn engine_name(reference: &Reference) -> Option<String> {
    reference.tag().map(|_| tagged(reference))
}

fn tagged(reference: &Reference) -> String {
    format!("{}:{}", reference.name(), reference.tag().unwrap_or_default())
}

/// As [`engine_name`], in the form that containerd keeps.
pub fn containerd_name(reference: &Reference) -> String {
    let tagged: Option<Reference> = tagged(reference).parse().ok();
    tagged.as_ref().unwrap_or(reference).normalised()
}

/// The repository of images that lost their tag to a new one.
pub const KEPT_REPOSITORY: &str = "dpl-kept";

/// The tag in [`KEPT_REPOSITORY`] for the image with this ID (`sha256:…`): its first 32 hex digits.
pub fn kept_tag(image_id: &str) -> Option<String> {
    let digest: Digest = image_id.parse().ok()?;
    Some(digest.hex()[..32].to_owned())
}

/// What an entry of anybody's layout or archive calls itself, with its tag; `None` where it has no name.
///
/// `io.containerd.image.name` is exact. `org.opencontainers.image.ref.name` counts where it is a whole reference, in
/// whatever spelling: a tag alone, as ctr, BuildKit and regctl write it there, names no image.
///
/// A signature is not what its name says: the image that it is about is.
pub(in crate::images) fn own_name(entry: &Descriptor) -> Option<String> {
    if entry.is_about_an_image() {
        return None;
    }
    entry.annotation(CONTAINERD_NAME).and_then(parsed).or_else(|| ref_name(entry))
}

/// What each entry of one index is called: the only place that knows.
///
/// Where skopeo moves a tag, it takes `ref.name` from the entry that had it and leaves containerd's name there: such an
/// entry of ours, which always has both, has lost its name to the one that has `ref.name` now. Between others' entries
/// nobody can say which is meant.
pub(in crate::images) fn entry_names(entries: &[Descriptor]) -> Vec<Option<String>> {
    let has_ref_name = |entry: &&Descriptor| ref_name(entry).is_some();
    let firm: HashSet<String> = entries.iter().filter(has_ref_name).filter_map(own_name).collect();
    let lost_its_name = |entry: &Descriptor| entry.is_sealed() && !has_ref_name(&entry);
    let name = |entry: &Descriptor| own_name(entry).filter(|name| !lost_its_name(entry) || !firm.contains(name));
    entries.iter().map(name).collect()
}

/// Whether the entry is named by a tag alone, which only the program that wrote it can make an image's name of.
pub(in crate::images) fn has_bare_tag(entry: &Descriptor) -> bool {
    entry.annotation(REF_NAME).is_some() && ref_name(entry).is_none()
}

/// All that programs may call an entry whose own name is `name`: some read `ref.name`, some containerd's annotation. A tag
/// alone is what a person typed behind a repository; where the entry has a whole name, images of other repositories may have it.
pub(in crate::images) fn all_names(entry: &Descriptor, name: Option<String>) -> HashSet<String> {
    let is_whole = name.is_none() || !has_bare_tag(entry);
    entry.annotation(REF_NAME).filter(|_| is_whole).map(str::to_owned).into_iter().chain(name).collect()
}

fn ref_name(entry: &Descriptor) -> Option<String> {
    parsed(entry.annotation(REF_NAME).filter(|text| text.contains([':', '/']))?)
}

fn parsed(text: &str) -> Option<String> {
    engine_name(&text.parse::<Reference>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(text: &str) -> String {
        archive_name(&text.parse().unwrap())
    }

    #[test]
    fn the_fields_images_have_deploy_pys_names() {
        for (reference, name) in [
            ("expert/expert_ui:latest", "expert-expert_ui_latest"),
            ("expert/expert_ui", "expert-expert_ui_latest"),
            ("expert/metis_ui:v2.2.0", "expert-metis_ui_v2.2.0"),
            ("metis/metis_worker_manager:v2", "metis-metis_worker_manager_v2"),
            ("metis/metis_worker:crypt", "metis-metis_worker_crypt"),
            ("metis/metis_worker_gpu:v1.5_no_subtask", "metis-metis_worker_gpu_v1.5_no_subtask"),
            ("postgres:15", "postgres_15"),
            ("redis:7-alpine", "redis_7-alpine"),
        ] {
            assert_eq!(named(reference), name);
        }
    }

    #[test]
    fn references_that_deploy_py_would_mix_up_get_names_of_their_own() {
        assert_eq!(named("a_b:c"), "a_b_c");
        assert_eq!(named("a:b_c"), "a%3Ab_c");
        assert_eq!(named("my-org/my-app:1"), "my-org%2Fmy-app%3A1");
        assert_eq!(named("127.0.0.1:5000/a/b:1"), "127.0.0.1%3A5000%2Fa%2Fb%3A1");
    }

    #[test]
    fn kept_images_are_tagged_with_the_beginning_of_their_id() {
        let id = format!("sha256:{}{}", "0123456789abcdef".repeat(2), "f".repeat(32));
        assert_eq!(kept_tag(&id).unwrap(), "0123456789abcdef0123456789abcdef");
        assert_eq!(kept_tag("expert/expert_ui"), None);
    }

    fn entry(ref_name: Option<&str>, containerd: Option<&str>) -> Descriptor {
        let mut entry = Descriptor::new("x", Digest::of(b"x"), 1);
        for (annotation, value) in [(REF_NAME, ref_name), (CONTAINERD_NAME, containerd)] {
            if let Some(value) = value {
                entry = entry.with(annotation, value);
            }
        }
        entry
    }

    #[test]
    fn an_entry_is_called_by_its_whole_reference_in_whatever_spelling_and_never_by_a_tag_alone() {
        for (ref_name, containerd, name) in [
            (Some("docker.io/library/redis:7"), None, Some("redis:7")),
            (Some("team/app"), None, Some("team/app:latest")),
            (Some("v0.3"), None, None),
            (Some("1.0"), Some("docker.io/team/app:1.0"), Some("team/app:1.0")),
            (Some("team/app:2"), Some("docker.io/team/app:1"), Some("team/app:1")),
            (None, Some("docker.io/library/redis:7"), Some("redis:7")),
            (None, None, None),
        ] {
            assert_eq!(own_name(&entry(ref_name, containerd)).as_deref(), name, "{ref_name:?} {containerd:?}");
        }
    }

    #[test]
    fn a_signature_does_not_have_the_name_of_the_image_that_it_is_about() {
        let of_kind =
            |kind: &str| entry(Some("team/app:1"), None).with("kind", format!("dev.cosignproject.cosign/{kind}"));
        assert_eq!(own_name(&of_kind("image")).as_deref(), Some("team/app:1"));
        assert_eq!(own_name(&of_kind("imageIndex")).as_deref(), Some("team/app:1"));
        assert_eq!(own_name(&of_kind("sigs")), None);
        assert_eq!(own_name(&of_kind("atts")), None);
    }

    #[test]
    fn an_entry_that_lost_its_ref_name_to_another_one_has_no_name() {
        let (lost, moved) = (entry(None, Some("docker.io/team/one:1")).sealed(), entry(Some("team/one:1"), None));
        assert_eq!(entry_names(&[lost.clone(), moved]), [None, Some("team/one:1".to_owned())]);
        assert_eq!(entry_names(&[lost]), [Some("team/one:1".to_owned())]);
    }

    #[test]
    fn archives_on_a_disk_that_ignores_case_do_not_meet() {
        let [large, small]: [Reference; 2] = ["team/case:V1", "team/case:v1"].map(|text| text.parse().unwrap());
        assert_eq!(archive_name_beside(&large, ["team-case_V1.tar.gz"]), "team-case_V1");
        let other = archive_name_beside(&small, ["team-case_V1.tar.gz"]);
        assert!(other.starts_with("team-case_v1%"), "{other}");
        assert_ne!(other, archive_name_beside(&large, ["team-case_v1.tar.gz"]));
        assert_eq!(archive_name_beside(&small, ["team-case_V1.tar.gz", &format!("{other}.tar.gz")]), other);
        assert_eq!(archive_name_beside(&small, ["team-case_V1.tar.gz", "team-case_v1.tar.gz"]), "team-case_v1");
    }

    #[test]
    fn a_reference_that_is_longer_than_any_files_name_has_an_archive_of_its_own() {
        let long = |tag: &str| format!("team/{}:{tag}", "a".repeat(250));
        let (one, two) = (named(&long(&"b".repeat(128))), named(&long(&"c".repeat(128))));
        assert!(one.len() < 220 && two.len() < 220 && one != two, "{one} {two}");
    }

    proptest! {
        #[test]
        fn two_references_never_meet(a in "[ab](/[ab])?([-_][ab1])?(/[ab])?:[ab1v]([-_.][ab1])?",
                                     b in "[ab](/[ab])?([-_][ab1])?(/[ab])?:[ab1v]([-_.][ab1])?") {
            prop_assert_eq!(a == b, named(&a) == named(&b), "{} {}", named(&a), named(&b));
        }
    }
}
