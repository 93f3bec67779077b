//! Names: of archives in the store's folder, of references for the engine, of images that are kept.

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
    match read_deploy_name(&name) {
        Some(owner) if owner == tagged(reference) => name,
        _ => escape(&tagged(reference)),
    }
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

/// The names that an entry goes by, each with its tag.
pub(in crate::images) fn names(entry: &Descriptor) -> impl Iterator<Item = String> {
    let annotations = [CONTAINERD_NAME, REF_NAME].into_iter().filter_map(|name| entry.annotation(name));
    annotations.filter_map(|text| engine_name(&text.parse::<Reference>().ok()?))
}

/// The name of an entry in somebody's layout or archive. A tag alone, as some programs write it, is none.
pub(in crate::images) fn reference_of(entry: &Descriptor) -> Option<String> {
    let annotations = [CONTAINERD_NAME, REF_NAME].into_iter().filter_map(|name| entry.annotation(name));
    let mut written = annotations.filter(|text| text.contains([':', '/']));
    engine_name(&written.next()?.parse::<Reference>().ok()?)
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

    proptest! {
        #[test]
        fn two_references_never_meet(a in "[ab](/[ab])?([-_][ab1])?(/[ab])?:[ab1v]([-_.][ab1])?",
                                     b in "[ab](/[ab])?([-_][ab1])?(/[ab])?:[ab1v]([-_.][ab1])?") {
            prop_assert_eq!(a == b, named(&a) == named(&b), "{} {}", named(&a), named(&b));
        }
    }
}
