use super::*;
use crate::images::formats::documents::{DOCUMENT_LIMIT_BYTES, DocumentError};
use crate::images::formats::tar_reader::{END_MARK, Streamed, file_header, padding};

/// What a test archive is made of.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn file(mut self, path: &str, content: &[u8]) -> Self {
        self.0.extend(file_header(path, content.len() as u64));
        self.0.extend(content);
        self.0.extend(vec![0; padding(content.len() as u64) as usize]);
        self
    }

    fn link(mut self, path: &str, target: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_path(path).unwrap();
        header.set_link_name(target).unwrap();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self
    }

    fn read(mut self) -> Result<Vec<ArchivedImage<String>>, ArchiveError> {
        self.0.extend(END_MARK);
        read_archive(Streamed(self.0.as_slice()), &Platform::host(), |file: LayerFile<'_>, body| {
            let mut content = String::new();
            body.read_to_string(&mut content).unwrap();
            Ok(format!("{}={content}", file.path))
        })
    }
}

const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn config(layers: usize) -> Vec<u8> {
    let diff_ids = vec![EMPTY; layers];
    serde_json::to_vec(&serde_json::json!({"os": "linux", "rootfs": {"diff_ids": diff_ids}})).unwrap()
}

fn manifest(config: &str, tags: &[&str], layers: &[&str]) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!([{"Config": config, "RepoTags": tags, "Layers": layers}])).unwrap()
}

#[test]
fn the_layout_of_old_engines_reads_with_its_linked_layers() {
    let name = format!("{}.json", Digest::of(&config(2)).hex());
    let images = Archive::default()
        .file("aa/VERSION", b"1.0")
        .file("aa/json", b"{}")
        .file("aa/layer.tar", b"lower")
        .link("bb/layer.tar", "../aa/layer.tar")
        .file(&name, &config(2))
        .file("manifest.json", &manifest(&name, &["a/b:1", "a/c:2"], &["aa/layer.tar", "bb/layer.tar"]))
        .file("repositories", b"{}")
        .read()
        .unwrap();
    assert_eq!(images[0].references, ["a/b:1", "a/c:2"]);
    assert_eq!(images[0].layers, ["aa/layer.tar=lower", "aa/layer.tar=lower"]);
    assert_eq!(images[0].config_digest, Digest::of(&config(2)));
}

#[test]
fn the_layout_of_new_engines_reads_whatever_stands_first() {
    let name = format!("blobs/sha256/{}", Digest::of(&config(1)).hex());
    let layer = format!("blobs/sha256/{}", Digest::of(b"layer").hex());
    let images = Archive::default()
        .file("manifest.json", &manifest(&name, &[], &[&layer]))
        .file(&layer, b"layer")
        .file(&name, &config(1))
        .file("index.json", b"{}")
        .file("oci-layout", b"{}")
        .read()
        .unwrap();
    assert_eq!(images[0].layers, [format!("{layer}=layer")]);
    assert!(images[0].references.is_empty());
}

#[test]
fn a_layer_that_begins_like_a_document_is_still_a_layer() {
    let mut layer = vec![b'{'; 600];
    layer[257..262].copy_from_slice(b"ustar");
    let images = Archive::default()
        .file("aa/layer.tar", &layer)
        .file("c.json", &config(1))
        .file("manifest.json", &manifest("c.json", &["a:1"], &["aa/layer.tar"]))
        .read()
        .unwrap();
    assert!(images[0].layers[0].starts_with("aa/layer.tar={{"));
}

#[test]
fn an_archive_that_lacks_what_it_names_is_refused() {
    let none = Archive::default().file("aa/layer.tar", b"x").read();
    assert!(matches!(none, Err(ArchiveError::NoManifest)));
    let no_layer = Archive::default()
        .file("c.json", &config(1))
        .file("manifest.json", &manifest("c.json", &["a:1"], &["aa/layer.tar"]))
        .read();
    assert!(
        matches!(no_layer, Err(ArchiveError::ImageNotWhole { name, path }) if name == "a:1" && path == "aa/layer.tar")
    );
    let no_config = Archive::default().file("manifest.json", &manifest("../../c.json", &["a:1"], &[])).read();
    assert!(matches!(no_config, Err(ArchiveError::ImageNotWhole { .. })));
    let fewer = Archive::default()
        .file("aa/layer.tar", b"x")
        .file("c.json", &config(2))
        .file("manifest.json", &manifest("c.json", &["a:1"], &["aa/layer.tar"]))
        .read();
    assert!(matches!(fewer, Err(ArchiveError::LayerCount { layers: 1, diff_ids: 2, .. })));
}

#[test]
fn links_that_lead_nowhere_or_in_circles_are_missing_files() {
    for target in ["../bb/layer.tar", "../cc/layer.tar"] {
        let circle = Archive::default()
            .link("aa/layer.tar", target)
            .link("bb/layer.tar", "../aa/layer.tar")
            .file("c.json", &config(1))
            .file("manifest.json", &manifest("c.json", &["a:1"], &["aa/layer.tar"]))
            .read();
        assert!(matches!(circle, Err(ArchiveError::ImageNotWhole { .. })));
    }
}

#[test]
fn a_configuration_under_another_digest_is_refused() {
    let name = format!("{}.json", Digest::of(b"another").hex());
    let read = Archive::default().file(&name, &config(0)).file("manifest.json", &manifest(&name, &["a:1"], &[])).read();
    assert!(matches!(read, Err(ArchiveError::WrongDigest { .. })));
}

#[test]
fn an_entry_that_is_there_twice_is_refused() {
    let twice = [
        Archive::default().file("manifest.json", b"[]").file("manifest.json", b"[]").read(),
        Archive::default().file("a/layer.tar", b"x").file("./a//layer.tar", b"y").read(),
        Archive::default().link("a/layer.tar", "b").file("a/layer.tar", b"y").read(),
    ];
    for read in twice {
        assert!(matches!(read, Err(ArchiveError::Twice { .. })));
    }
}

#[test]
fn documents_larger_than_any_image_needs_are_refused() {
    let mut large = b"[".to_vec();
    large.resize(DOCUMENT_LIMIT_BYTES as usize + 1, b' ');
    let read = Archive::default().file("manifest.json", &large).read();
    assert!(matches!(read, Err(ArchiveError::Document { source: DocumentError::TooLarge { .. }, .. })));
    large.truncate(DOCUMENT_LIMIT_BYTES as usize);
    let mut many = Archive::default();
    for number in 0..5 {
        many = many.file(&format!("{number}.json"), &large);
    }
    assert!(matches!(many.read(), Err(ArchiveError::TooManyDocuments)));
}

/// The file of a blob, and its descriptor.
fn blob(media_type: &str, bytes: &[u8]) -> (String, serde_json::Value) {
    let digest = Digest::of(bytes);
    let descriptor = serde_json::json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
    (format!("blobs/sha256/{}", digest.hex()), descriptor)
}

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const LIST_TYPE: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";

impl Archive {
    fn document(self, media_type: &str, document: &serde_json::Value) -> (Self, serde_json::Value) {
        let bytes = serde_json::to_vec(document).unwrap();
        let (path, descriptor) = blob(media_type, &bytes);
        (self.file(&path, &bytes), descriptor)
    }

    /// An image without layers; its manifest's descriptor, with its platform, and its configuration's digest.
    fn image(self, manifest_type: &str, architecture: &str) -> (Self, serde_json::Value, Digest) {
        let config_type = match manifest_type {
            DOCKER_TYPE => "application/vnd.docker.container.image.v1+json",
            _ => "application/vnd.oci.image.config.v1+json",
        };
        let config = serde_json::json!({"os": "linux", "architecture": architecture, "rootfs": {"diff_ids": []}});
        let (archive, config) = self.document(config_type, &config);
        let id = config["digest"].as_str().unwrap().parse().unwrap();
        let manifest =
            serde_json::json!({"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": null});
        let (archive, mut manifest) = archive.document(manifest_type, &manifest);
        manifest["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        (archive, manifest, id)
    }

    /// Ends it as a layout whose index has these entries.
    fn index(self, entries: &[serde_json::Value]) -> Self {
        let index = serde_json::json!({"schemaVersion": 2, "manifests": entries});
        self.file("index.json", &serde_json::to_vec(&index).unwrap())
    }

    fn read_for(mut self, wish: PlatformWish<'_>) -> (Result<Vec<ArchivedImage<u64>>, ArchiveError>, Vec<LeftOut>) {
        self.0.extend(END_MARK);
        let mut left_out = Vec::new();
        let take = |file: LayerFile<'_>, _: &mut dyn Read| Ok(file.size_bytes);
        let read = ArchiveContent::read(Streamed(self.0.as_slice()), take)
            .and_then(|content| content.images(wish, &mut left_out));
        (read, left_out)
    }
}

fn named(mut descriptor: serde_json::Value, name: &str) -> serde_json::Value {
    descriptor["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": name});
    descriptor
}

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

/// What an engine of the containerd store saves of an image of two platforms: a `manifest.json` of its own one beside an
/// index of both. The archive, and the IDs by platform.
fn of_two_platforms(index_type: &str, manifest_type: &str, with_manifest: bool) -> (Archive, [Digest; 2]) {
    let (archive, amd64, amd64_id) = Archive::default().image(manifest_type, "amd64");
    let (archive, arm64, arm64_id) = archive.image(manifest_type, "arm64");
    let nested = serde_json::json!({"schemaVersion": 2, "mediaType": index_type, "manifests": [amd64, arm64]});
    let (archive, nested) = archive.document(index_type, &nested);
    let archive = archive.index(&[named(nested, "team/multi:1.0")]);
    let config = format!("blobs/sha256/{}", amd64_id.hex());
    let ids = [amd64_id, arm64_id];
    match with_manifest {
        true => (archive.file("manifest.json", &manifest(&config, &["team/multi:1.0"], &[])), ids),
        false => (archive, ids),
    }
}

#[test]
fn of_an_index_beside_a_manifest_json_the_platform_that_is_asked_for_is_taken() {
    let chosen = |wish: PlatformWish<'_>, with_manifest| {
        let (archive, ids) = of_two_platforms(INDEX_TYPE, MANIFEST_TYPE, with_manifest);
        let images = archive.read_for(wish).0.unwrap();
        assert_eq!(images[0].references, ["team/multi:1.0"]);
        ids.iter().position(|id| *id == images[0].config_digest).unwrap()
    };
    let (amd64, arm64) = (platform("linux/amd64"), platform("linux/arm64"));
    assert_eq!(chosen(PlatformWish::Asked(&arm64), true), 1);
    assert_eq!(chosen(PlatformWish::Asked(&amd64), true), 0);
    assert_eq!(chosen(PlatformWish::Asked(&arm64), false), 1);
    assert_eq!(chosen(PlatformWish::Usual(&arm64), false), 1);
    // An engine of another platform gets its own image, whatever `manifest.json` names; where there is none, that one.
    assert_eq!(chosen(PlatformWish::Usual(&arm64), true), 1);
    assert_eq!(chosen(PlatformWish::Usual(&amd64), true), 0);
    assert_eq!(chosen(PlatformWish::Usual(&platform("linux/s390x")), true), 0);
    let (archive, _) = of_two_platforms(INDEX_TYPE, MANIFEST_TYPE, true);
    let refused = archive.read_for(PlatformWish::Asked(&platform("linux/s390x"))).0;
    assert!(matches!(refused, Err(ArchiveError::OtherPlatform { found, .. }) if found == "amd64"));
}

#[test]
fn of_a_platform_whose_image_is_not_in_the_archive_the_one_of_manifest_json_is_taken() {
    let (archive, amd64, id) = Archive::default().image(MANIFEST_TYPE, "amd64");
    let (_, arm64, _) = Archive::default().image(MANIFEST_TYPE, "arm64");
    let nested = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [amd64, arm64]});
    let (archive, nested) = archive.document(INDEX_TYPE, &nested);
    let config = format!("blobs/sha256/{}", id.hex());
    let archive = archive.index(&[named(nested, "team/multi:1.0")]);
    let archive = archive.file("manifest.json", &manifest(&config, &["team/multi:1.0"], &[]));
    let images = archive.read_for(PlatformWish::Usual(&platform("linux/arm64"))).0.unwrap();
    assert_eq!(images[0].config_digest, id);
}

#[test]
fn a_manifest_list_of_dockers_inside_an_archive_is_an_index() {
    let (archive, ids) = of_two_platforms(LIST_TYPE, DOCKER_TYPE, false);
    let images = archive.read_for(PlatformWish::Usual(&platform("linux/arm64"))).0.unwrap();
    assert_eq!(images[0].config_digest, ids[1]);
}

#[test]
fn what_is_not_an_image_is_left_out_of_an_archive_by_name_and_never_called_damaged() {
    let with_artifacts = |archive: Archive, mut entries: Vec<serde_json::Value>| {
        let mut archive = archive;
        for (config_type, layer_type, name) in [
            (
                "application/vnd.cncf.helm.config.v1+json",
                "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
                "chart:1",
            ),
            ("application/vnd.oci.image.config.v1+json", "application/vnd.dev.cosign.simplesigning.v1+json", "app:sig"),
            ("application/vnd.oci.empty.v1+json", "text/plain", "file:1"),
        ] {
            let (path, layer) = blob(layer_type, name.as_bytes());
            let (next, config) =
                archive.file(&path, name.as_bytes()).document(config_type, &serde_json::json!({"of": name}));
            let document = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [layer]});
            let (next, descriptor) = next.document(MANIFEST_TYPE, &document);
            archive = next;
            entries.push(named(descriptor, name));
        }
        let schema_1 = serde_json::json!({"schemaVersion": 1, "fsLayers": [], "manifests": null, "layers": null});
        let (archive, old) = archive.document("application/vnd.docker.distribution.manifest.v1+prettyjws", &schema_1);
        entries.push(named(old, "old:1"));
        archive.index(&entries)
    };
    let (archive, image, id) = Archive::default().image(MANIFEST_TYPE, "amd64");
    let amd64 = platform("linux/amd64");
    let (read, left_out) = with_artifacts(archive, vec![named(image, "a:1")]).read_for(PlatformWish::Usual(&amd64));
    let images = read.unwrap();
    assert_eq!((images.len(), &images[0].config_digest), (1, &id));
    let names: Vec<&str> = left_out.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["chart:1", "app:sig", "file:1", "old:1"]);
    assert!(
        left_out.iter().all(|one| !crate::catalogue::Catalogue::english().text(&one.why).contains("damaged")),
        "{left_out:?}"
    );
    // Nothing but such things is said by what the first of them is.
    let (read, _) = with_artifacts(Archive::default(), Vec::new()).read_for(PlatformWish::Usual(&amd64));
    assert!(read.is_err_and(|error| error.is_other_kind()));
}

#[test]
fn names_that_only_the_index_has_are_those_of_a_manifest_json_without_any() {
    let (archive, image, id) = Archive::default().image(MANIFEST_TYPE, "amd64");
    let config = format!("blobs/sha256/{}", id.hex());
    let items = serde_json::json!([{"Config": config, "RepoTags": null, "Layers": []}]);
    let mut named = named(image, "1.0");
    named["annotations"]["io.containerd.image.name"] = "docker.io/team/app:1.0".into();
    let archive = archive.index(&[named]).file("manifest.json", &serde_json::to_vec(&items).unwrap());
    let images = archive.read_for(PlatformWish::Usual(&platform("linux/amd64"))).0.unwrap();
    assert_eq!(images[0].references, ["team/app:1.0"]);
}

#[test]
fn lists_of_packages_and_statements_count_for_nothing_however_large() {
    let name = format!("{}.json", Digest::of(&config(0)).hex());
    let mut archive = Archive::default();
    for number in 0..8 {
        let mut list = format!(r#"{{"spdxVersion": "SPDX-2.3", "number": {number}, "packages": ""#).into_bytes();
        list.resize(DOCUMENT_LIMIT_BYTES as usize - 2, b'p');
        list.extend(b"\"}");
        archive = archive.file(&format!("blobs/sha256/{}", Digest::of(&list).hex()), &list);
    }
    let mut larger = br#"{"predicate": ""#.to_vec();
    larger.resize(DOCUMENT_LIMIT_BYTES as usize + 1, b'p');
    let archive = archive
        .file(&format!("blobs/sha256/{}", Digest::of(&larger).hex()), &larger)
        .file(&name, &config(0))
        .file("manifest.json", &manifest(&name, &["a:1"], &[]));
    let mut bytes = archive.0;
    bytes.extend(END_MARK);
    let mut taken = Vec::new();
    let images = read_archive(Streamed(bytes.as_slice()), &Platform::host(), |file: LayerFile<'_>, _| {
        taken.push(file.path.to_owned());
        Ok::<_, ArchiveError>(())
    });
    assert_eq!((images.unwrap().len(), taken), (1, Vec::new()));
}

#[test]
fn an_old_tar_whose_first_file_is_called_like_json_is_a_layer() {
    let mut layer = vec![0; 1024];
    layer[..5].copy_from_slice(b"{json");
    let archive = Archive::default()
        .file("aa/layer.tar", &layer)
        .file("c.json", &config(1))
        .file("manifest.json", &manifest("c.json", &["a:1"], &["aa/layer.tar"]));
    assert_eq!(archive.read().unwrap()[0].layers.len(), 1);
}

#[test]
fn an_image_that_is_not_whole_in_an_export_keeps_no_other_from_being_read() {
    let item = |name: &str, layer: &str| serde_json::json!({"Config": "c.json", "RepoTags": [name], "Layers": [layer]});
    let items =
        serde_json::json!([item("a:1", "aa/layer.tar"), item("b:1", "gone/layer.tar"), item("c:1", "aa/layer.tar")]);
    let mut archive = Archive::default()
        .file("aa/layer.tar", b"x")
        .file("c.json", &config(1))
        .file("manifest.json", &serde_json::to_vec(&items).unwrap());
    archive.0.extend(END_MARK);
    let (bytes, mut not_whole) = (archive.0, Vec::new());
    let take = |file: LayerFile<'_>, _: &mut dyn Read| Ok::<_, ArchiveError>(file.size_bytes);
    let content = ArchiveContent::read(Streamed(bytes.as_slice()), take).unwrap();
    let images = content.exported_images(&Platform::host(), &mut not_whole).unwrap();
    let names: Vec<&String> = images.iter().flat_map(|image| &image.references).collect();
    assert_eq!(names, ["a:1", "c:1"]);
    assert_eq!(not_whole[0].names, ["b:1"]);
    assert!(matches!(&not_whole[0].why, ArchiveError::ImageNotWhole { path, .. } if path == "gone/layer.tar"));
    // An archive that somebody gave is refused as it was.
    let refused = read_archive(Streamed(bytes.as_slice()), &Platform::host(), take);
    assert!(matches!(refused, Err(ArchiveError::ImageNotWhole { .. })));
}

#[test]
fn of_an_archive_only_the_images_that_can_be_taken_are_and_the_others_are_named() {
    let item = |name: &str, layer: &str| serde_json::json!({"Config": "c.json", "RepoTags": [name], "Layers": [layer]});
    let other = |name: &str| serde_json::json!({"Config": "d.json", "RepoTags": [name], "Layers": null});
    let items = serde_json::json!([
        item("a:1", "aa/layer.tar"),
        item("b:1", "gone/layer.tar"),
        item("c:1", "aa/layer.tar"),
        other("docker.io/library/c:1"),
        // Which of them is meant, nobody knows.
        other("d:1"),
        item("d:1", "gone/layer.tar"),
    ]);
    let archive = Archive::default()
        .file("aa/layer.tar", b"x")
        .file("c.json", &config(1))
        .file("d.json", &config(0))
        .file("manifest.json", &serde_json::to_vec(&items).unwrap());
    let (read, left_out) = archive.read_for(PlatformWish::Usual(&platform("linux/amd64")));
    let images = read.unwrap();
    let names: Vec<&String> = images.iter().flat_map(|image| &image.references).collect();
    assert_eq!(names, ["a:1"]);
    let left_out: Vec<&str> = left_out.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(left_out, ["b:1", "d:1", "c:1", "d:1"]);
}

#[test]
fn of_images_for_several_platforms_those_for_the_one_that_is_asked_for_are_taken() {
    let (archive, ids) = of_two_platforms(INDEX_TYPE, MANIFEST_TYPE, false);
    assert!(archive.read_for(PlatformWish::Asked(&platform("linux/s390x"))).0.is_err());
    let (archive, amd64, _) = Archive::default().image(MANIFEST_TYPE, "amd64");
    let (archive, arm64, arm64_id) = archive.image(MANIFEST_TYPE, "arm64");
    assert_eq!(arm64_id, ids[1]);
    let archive = archive.index(&[named(amd64, "amd:1"), named(arm64, "arm:1")]);
    let (read, left_out) = archive.read_for(PlatformWish::Asked(&platform("linux/arm64")));
    let images = read.unwrap();
    assert_eq!((images.len(), &images[0].references[..]), (1, &["arm:1".to_owned()][..]));
    assert_eq!(left_out.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["amd:1"]);
}
