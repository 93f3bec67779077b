//! Entries of ours to nodes of a snapshot, and back.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustic_core::repofile::{Metadata, Node, NodeType};
use rustic_core::{DataId, Id};
use serde_json::json;

use super::super::entry::{Chunk, Content, Entry, Inside, Kind, TreeName};

/// Restic keeps modes as Go has them (`io/fs.FileMode`): bits of their own for what a thing is and for the upper three.
const GO_FOLDER: u32 = 1 << 31;
const GO_LINK: u32 = 1 << 27;
const GO_DEVICE: u32 = 1 << 26;
const GO_PIPE: u32 = 1 << 25;
const GO_SOCKET: u32 = 1 << 24;
const GO_CHARACTER: u32 = 1 << 21;
const GO_UPPER: [(u32, u32); 3] = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];

fn go_mode(entry: &Entry) -> u32 {
    let kind = match &entry.kind {
        Kind::File(_) => 0,
        Kind::Folder(_) => GO_FOLDER,
        Kind::Link(_) => GO_LINK,
        Kind::Block { .. } => GO_DEVICE,
        Kind::Character { .. } => GO_DEVICE | GO_CHARACTER,
        Kind::Pipe => GO_PIPE,
        Kind::Socket => GO_SOCKET,
    };
    let upper = GO_UPPER.iter().filter(|(bit, _)| entry.mode & bit != 0).map(|(_, go)| go);
    kind | (entry.mode & 0o777) | upper.sum::<u32>()
}

fn mode(go: u32) -> u32 {
    let upper = GO_UPPER.iter().filter(|(_, bit)| go & bit != 0).map(|(unix, _)| unix);
    (go & 0o777) | upper.sum::<u32>()
}

/// A node of what lies on disk; the archiver adds the content.
pub fn to_node(entry: &Entry) -> Node {
    let kind = match &entry.kind {
        Kind::File(_) => NodeType::File,
        Kind::Folder(_) => NodeType::Dir,
        Kind::Link(target) => NodeType::from_link(target),
        Kind::Block { device } => NodeType::Dev { device: *device },
        Kind::Character { device } => NodeType::Chardev { device: *device },
        Kind::Pipe => NodeType::Fifo,
        Kind::Socket => NodeType::Socket,
    };
    let attributes: Vec<_> = entry
        .attributes
        .iter()
        .map(|(name, value)| json!({ "name": name.to_string_lossy(), "value": STANDARD.encode(value) }))
        .collect();
    let has_names = entry.links > 1;
    let metadata = Metadata {
        mode: Some(go_mode(entry)),
        mtime: entry.modified,
        // As restic does unless it is told otherwise: times of access would make every snapshot differ.
        atime: entry.modified,
        ctime: entry.changed,
        uid: Some(entry.uid),
        gid: Some(entry.gid),
        user: None,
        group: None,
        inode: entry.inode,
        device_id: if has_names { entry.device } else { 0 },
        size: entry.size,
        links: entry.links,
        // The type of an attribute has no name outside of rustic_core.
        extended_attributes: serde_json::from_value(attributes.into()).unwrap_or_default(),
    };
    Node::new_node(&entry.name, kind, metadata)
}

/// What a node says; `None` for one whose name can't be a name in a folder: a snapshot of somebody else may hold anything.
pub fn of_node(node: Node) -> Option<Entry> {
    let name = node.name().into_owned();
    if !is_plain_name(&name) {
        return None;
    }
    let meta = node.meta;
    let kind = match &node.node_type {
        NodeType::File => {
            let chunks = node.content.unwrap_or_default();
            Kind::File(Content::Snapshot(chunks.iter().map(|id| Chunk(bytes(id))).collect()))
        }
        NodeType::Dir => match node.subtree {
            Some(tree) => Kind::Folder(Inside::Snapshot(TreeName(bytes(&tree)))),
            None => Kind::Folder(Inside::Nothing),
        },
        link @ NodeType::Symlink { .. } => Kind::Link(link.to_link().to_owned()),
        NodeType::Dev { device } => Kind::Block { device: *device },
        NodeType::Chardev { device } => Kind::Character { device: *device },
        NodeType::Fifo => Kind::Pipe,
        NodeType::Socket => Kind::Socket,
    };
    let attributes = meta
        .extended_attributes
        .into_iter()
        .map(|attribute| (OsString::from_vec(attribute.name.into_bytes()), attribute.value.unwrap_or_default()));
    Some(Entry {
        name,
        mode: mode(meta.mode.unwrap_or(0o755)),
        uid: meta.uid.unwrap_or_default(),
        gid: meta.gid.unwrap_or_default(),
        modified: meta.mtime,
        changed: meta.ctime,
        size: if matches!(kind, Kind::File(_)) { meta.size } else { 0 },
        inode: meta.inode,
        device: meta.device_id,
        links: meta.links,
        attributes: attributes.collect(),
        kind,
    })
}

fn is_plain_name(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    !bytes.is_empty() && bytes != b"." && bytes != b".." && !bytes.contains(&b'/') && !bytes.contains(&0)
}

fn bytes(id: &Id) -> [u8; 32] {
    let hex = id.to_hex();
    std::array::from_fn(|place| u8::from_str_radix(&hex[2 * place..2 * place + 2], 16).unwrap_or_default())
}

fn id(bytes: [u8; 32]) -> Id {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.parse().unwrap_or_default()
}

pub fn tree_id(name: TreeName) -> rustic_core::TreeId {
    id(name.0).into()
}

pub fn tree_name(tree: &rustic_core::TreeId) -> TreeName {
    TreeName(bytes(tree))
}

pub fn data_id(chunk: Chunk) -> DataId {
    id(chunk.0).into()
}

/// The parts of an absolute path below the root.
pub fn names(path: &Path) -> Vec<PathBuf> {
    path.components()
        .filter(|part| matches!(part, std::path::Component::Normal(_)))
        .map(|part| part.as_os_str().into())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind) -> Entry {
        Entry {
            name: OsString::from_vec(b"a \xff\"\\\n".to_vec()),
            kind,
            mode: 0o6751,
            uid: 7,
            gid: 8,
            modified: jiff::Timestamp::new(5, 6).ok(),
            changed: jiff::Timestamp::new(7, 8).ok(),
            size: 0,
            inode: 9,
            device: 0,
            links: 1,
            attributes: vec![("user.x".into(), vec![0, 255, 3])],
        }
    }

    #[test]
    fn an_entry_comes_back_from_its_node() {
        let kinds = [
            Kind::Link(PathBuf::from(OsString::from_vec(b"/to/\xfe".to_vec()))),
            Kind::Block { device: 0x801 },
            Kind::Character { device: 0x103 },
            Kind::Pipe,
            Kind::Socket,
        ];
        for kind in kinds {
            let entry = entry(kind);
            assert_eq!(of_node(to_node(&entry)).unwrap(), entry);
        }
    }

    #[test]
    fn modes_are_those_of_go() {
        // `fs.ModeDevice | fs.ModeCharDevice | fs.ModeSetuid | fs.ModeSetgid | 0o751` of Go's io/fs.
        assert_eq!(go_mode(&entry(Kind::Character { device: 1 })), 0x0420_0000 | 0x00c0_0000 | 0o751);
        assert_eq!(go_mode(&entry(Kind::Folder(Inside::Disk))), 0x8000_0000 | 0x00c0_0000 | 0o751);
    }

    #[test]
    fn names_that_lead_out_of_their_folder_are_not_taken() {
        for name in ["", ".", "..", "../x", "a/b"] {
            let node = Node { name: name.to_owned(), ..to_node(&entry(Kind::Pipe)) };
            assert_eq!(of_node(node), None, "{name}");
        }
    }
}
