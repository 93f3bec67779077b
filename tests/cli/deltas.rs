//! A layer that is rebuilt from a delta by the script of `docs/`, without dpl.

use std::fs;
use std::process::Command;

use dpl::fs::Digest;
use dpl::packages::delta::{BaseIndex, BaseLayer, CreateOptions, create};

use crate::support::repository;

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).unwrap();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    [header.as_bytes().as_slice(), content, &vec![0; content.len().wrapping_neg() % 512]].concat()
}

fn text(from: u32) -> Vec<u8> {
    (from..from + 90_000)
        .map(|line| format!("line {line} of a file, {}\n", line.wrapping_mul(2_654_435_761)))
        .collect::<String>()
        .into()
}

#[test]
fn the_script_of_the_docs_rebuilds_a_layer() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let olds = [
        [file("lib/a-1.txt", &text(1)), file("lib/b", &text(500_000)), vec![0; 1024]].concat(),
        [file("lib/c", &text(700_000)), vec![0; 1024]].concat(),
    ];
    let changed = [&text(1)[..1_000_000], b"changed", &text(3)[1_000_000..]].concat();
    // Eight files of 4 MB, so that there are several groups.
    let mut entries: Vec<Vec<u8>> = (0..8).map(|number| file(&format!("lib/a-{number}.txt"), &changed)).collect();
    entries.extend([file("moved", &text(700_000)), file("lib/b", &text(500_000)), vec![0; 1024]]);
    let new = entries.concat();

    let diff_ids = [Digest::of(&olds[0]), Digest::of(&olds[1])];
    let layer =
        |number: usize| BaseLayer { diff_id: &diff_ids[number], size: olds[number].len() as u64, tar: &olds[number] };
    let index = BaseIndex::read(vec![layer(0), layer(1)]).unwrap();
    let mut body = Vec::new();
    let created = create(new.as_slice(), &Digest::of(&new), &index, &CreateOptions::default(), &mut body).unwrap();
    fs::write(path("delta"), [created.header_bytes(), body].concat()).unwrap();
    fs::write(path("old-0.tar"), &olds[0]).unwrap();
    fs::write(path("old-1.tar"), &olds[1]).unwrap();

    let script = |olds: &[&str]| {
        let mut command = Command::new("python3");
        command.arg(repository().join("docs/rebuild_layer.py")).arg("delta").arg("new.tar").args(olds);
        let output = command.current_dir(folder.path()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(script(&["old-1.tar", "old-0.tar"]), (true, String::new()));
    assert!(fs::read(path("new.tar")).unwrap() == new);

    let (succeeded, said) = script(&["old-1.tar"]);
    assert!(!succeeded && said.contains(&diff_ids[0].to_string()), "{said}");
    let mut damaged = fs::read(path("delta")).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(path("delta"), damaged).unwrap();
    let (succeeded, said) = script(&["old-1.tar", "old-0.tar"]);
    assert!(!succeeded && said.contains("damaged"), "{said}");
}
