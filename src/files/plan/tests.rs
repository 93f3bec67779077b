//! What a delivery changes, told of trees that nobody has to make.

use super::*;
use crate::files::tree::Stamp;
use crate::fs::Digest;
use crate::manifest::model::{FileMode, Permissions};

/// A tree of lines: `path/` is a folder, `path=text` a file, `path>target` a link.
fn tree(lines: &[&str]) -> Tree {
    let mut tree = Tree::default();
    let mut add = |path: &str, kind: Kind, content: &str| {
        let size = content.len() as u64;
        let stamp = Stamp { device: 1, inode: 1, size, modified: (1, 0), changed: (1, 0) };
        let digest = (kind == Kind::File).then(|| Digest::of(content.as_bytes()));
        let mode = if kind == Kind::Folder { 0o755 } else { 0o644 };
        let entry = Entry { kind, mode, owner: Owner { user: 7, group: 8 }, stamp, digest, is_excluded: false };
        tree.entries.insert(PathBuf::from(path), entry);
    };
    add("", Kind::Folder, "");
    for line in lines {
        match (line.strip_suffix('/'), line.split_once('='), line.split_once('>')) {
            (Some(path), ..) => add(path, Kind::Folder, ""),
            (_, Some((path, content)), _) => add(path, Kind::File, content),
            (_, _, Some((path, target))) => add(path, Kind::Link(target.into()), ""),
            _ => panic!("{line}"),
        }
    }
    tree
}

fn folder(mode: DeliveryMode) -> DeliveredFolder {
    DeliveredFolder { mode, most_removed: 20, ..DeliveredFolder::default() }
}

fn contents(of: &Tree) -> Contents {
    of.entries.iter().filter_map(|(path, entry)| Some((encoded(path), entry.content()?))).collect()
}

/// What is done, in one line: `+added ~changed -removed`.
fn said(plan: &FolderPlan) -> String {
    let change = |change: &Change| {
        let sign = match change.act {
            Act::Added => '+',
            Act::Changed => '~',
            Act::Removed => '-',
        };
        format!("{sign}{}{}", change.path.display(), if change.is_folder { "/" } else { "" })
    };
    plan.changes.iter().map(change).collect::<Vec<_>>().join(" ")
}

fn local(edits: &[LocalEdit]) -> Vec<(String, LocalAct)> {
    edits.iter().map(|edit| (encoded(&edit.path), edit.act)).collect()
}

#[test]
fn each_mode_does_what_it_says() {
    let source = tree(&["sub/", "sub/new=1", "changed=after", "same=s", "link>a"]);
    let present = tree(&["gone/", "gone/x=1", "changed=before", "same=s", "link>b"]);
    let planned = |mode| plan(&folder(mode), &source, &present, None, LocalChoice::Undecided);
    let mirror = planned(DeliveryMode::Mirror);
    assert_eq!(said(&mirror), "~changed -gone/ -gone/x ~link +sub/ +sub/new");
    assert_eq!((mirror.unchanged, mirror.present, mirror.copied_bytes), (1, 4, 6));
    assert_eq!(said(&planned(DeliveryMode::Merge)), "~changed ~link +sub/ +sub/new");
    let add = planned(DeliveryMode::Add);
    assert_eq!((said(&add).as_str(), add.left.len()), ("+sub/ +sub/new", 2));
    for plan in [&mirror, &planned(DeliveryMode::Merge)] {
        assert!(plan.local.is_empty(), "nobody knows what was there before");
    }
    assert_eq!(mirror.delivered, contents(&source));
    assert_eq!(add.delivered.keys().collect::<Vec<_>>(), ["same", "sub/new"]);
}

#[test]
fn a_second_delivery_of_the_same_changes_nothing() {
    let source = tree(&["a/", "a/b=1", "link>a"]);
    for mode in [DeliveryMode::Mirror, DeliveryMode::Merge, DeliveryMode::Add] {
        let before = contents(&source);
        let plan = plan(&folder(mode), &source, &source, Some(&before), LocalChoice::Undecided);
        assert!(plan.is_empty() && plan.local.is_empty(), "{plan:?}");
        assert_eq!(plan.delivered, before);
    }
}

#[test]
fn a_target_that_is_not_there_is_made_whole() {
    let source = tree(&["a/", "a/b=1"]);
    let plan = plan(&folder(DeliveryMode::Add), &source, &Tree::default(), None, LocalChoice::Undecided);
    assert_eq!(said(&plan), "+/ +a/ +a/b");
    assert_eq!(plan.result[Path::new("a/b")].owner, None);
}

#[test]
fn what_is_left_out_stays_and_does_not_count() {
    let source = tree(&["a=1"]);
    let mut present = tree(&["a=1", "cache/", "cache/deep/", "cache/deep/x=1", "b=2"]);
    for path in ["cache", "cache/deep", "cache/deep/x"] {
        present.entries.get_mut(Path::new(path)).unwrap().is_excluded = true;
    }
    let plan = plan(&folder(DeliveryMode::Mirror), &source, &present, Some(&contents(&source)), LocalChoice::Overwrite);
    assert_eq!((said(&plan).as_str(), plan.present), ("-b", 2));
    assert!(plan.result.contains_key(Path::new("cache/deep/x")));
}

#[test]
fn what_somebody_changed_is_named_and_kept_or_overwritten_as_it_is_said() {
    let first = tree(&["conf=1", "gone=1", "same=1", "old=1"]);
    let before = contents(&first);
    let source = tree(&["conf=2", "gone=1", "same=1"]);
    // `conf` and `old` were edited, `gone` was removed, `mine` was added.
    let present = tree(&["conf=edited", "same=1", "old=edited", "mine=1"]);
    let folder = folder(DeliveryMode::Mirror);
    let planned = |choice| plan(&folder, &source, &present, Some(&before), choice);
    let named = planned(LocalChoice::Undecided);
    let (edited, removed, added) = (LocalAct::Edited, LocalAct::Removed, LocalAct::Added);
    let all = [("conf", edited), ("gone", removed), ("mine", added), ("old", edited)];
    let all = all.map(|(path, act)| (path.to_owned(), act));
    assert_eq!(local(&named.local), all);
    assert_eq!(said(&named), "~conf +gone -mine -old");
    assert_eq!(said(&planned(LocalChoice::Overwrite)), said(&named));
    let kept = planned(LocalChoice::Keep);
    assert_eq!((said(&kept).as_str(), local(&kept.local).len()), ("", 4));
    assert_eq!(kept.delivered["conf"], before["conf"], "it stays known as edited");
    assert_eq!(local(&local_edits(folder.mode, &before, &present)), all);
}

#[test]
fn an_edit_that_the_delivery_brings_too_is_none() {
    let before = contents(&tree(&["conf=1"]));
    let source = tree(&["conf=2"]);
    let plan = plan(&folder(DeliveryMode::Merge), &source, &source, Some(&before), LocalChoice::Undecided);
    assert!(plan.is_empty() && plan.local.is_empty());
    assert_eq!(plan.delivered, contents(&source));
}

#[test]
fn a_folder_in_which_something_stays_stays() {
    let before = contents(&tree(&["a/", "a/b/", "a/b/c=1"]));
    let present = tree(&["a/", "a/b/", "a/b/c=edited", "a/d/"]);
    let source = tree(&["x=1"]);
    let plan = plan(&folder(DeliveryMode::Mirror), &source, &present, Some(&before), LocalChoice::Keep);
    assert_eq!(said(&plan), "-a/d/ +x");
    assert!(["a", "a/b", "a/b/c"].iter().all(|path| plan.result.contains_key(Path::new(path))));
}

#[test]
fn a_file_that_replaces_a_folder_replaces_all_in_it_and_a_folder_a_file() {
    let file = tree(&["x=1", "y=1"]);
    let folders = tree(&["x/", "x/deep/", "x/deep/z=1", "y=1"]);
    let planned = |mode, source, present| plan(&folder(mode), source, present, None, LocalChoice::Undecided);
    assert_eq!(said(&planned(DeliveryMode::Merge, &file, &folders)), "~x -x/deep/ -x/deep/z");
    assert_eq!(said(&planned(DeliveryMode::Merge, &folders, &file)), "~x/ +x/deep/ +x/deep/z");
    let add = planned(DeliveryMode::Add, &folders, &file);
    assert_eq!((said(&add).as_str(), add.left.len()), ("", 2));
}

#[test]
fn owners_and_permissions_that_are_said_are_changes() {
    let source = tree(&["sub/", "sub/a=1", "link>a"]);
    let said_so = |permissions, owner| {
        let folder = DeliveredFolder { permissions, owner, ..folder(DeliveryMode::Merge) };
        said(&plan(&folder, &source, &source, None, LocalChoice::Undecided))
    };
    let files = Permissions { files: Some(FileMode(0o600)), folders: None };
    assert_eq!(said_so(files, None), "~sub/a");
    let folders = Permissions { files: None, folders: Some(FileMode(0o700)) };
    assert_eq!(said_so(folders, None), "~/ ~sub/");
    assert_eq!(said_so(Permissions::default(), Some(Owner { user: 7, group: 8 })), "");
    assert_eq!(said_so(Permissions::default(), Some(Owner { user: 9, group: 8 })), "~/ ~link ~sub/ ~sub/a");
}

#[test]
fn a_share_that_goes_is_counted_without_what_is_left_out() {
    let present = tree(&["a=1", "b=1", "c=1", "d=1", "e=1"]);
    let source = tree(&["b=1", "c=1", "d=1", "e=1"]);
    let plan = plan(&folder(DeliveryMode::Mirror), &source, &present, None, LocalChoice::Undecided);
    assert!(!plan.removes_more_than(20) && plan.removes_more_than(19) && plan.removes_more_than(0));
    assert!(!FolderPlan::default().removes_more_than(0));
}
