use super::*;
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
        read_archive(Streamed(self.0.as_slice()), |file: LayerFile<'_>, body| {
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
