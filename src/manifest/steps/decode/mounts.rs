//! Mounts and their options.

use std::path::{Component, Path, PathBuf};

use super::{Context, Decode, Fields};
use crate::manifest::model::{BindOptions, Mount, MountKind, TmpfsOptions, VolumeOptions};
use crate::manifest::text::node::Node;
use crate::report::Listed;

impl Decode for Mount {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        // Without its type nothing of a mount can be judged.
        let kind = match node.get("type") {
            Some(kind) => MountKind::decode(kind, context)?,
            None => MountKind::default(),
        };
        let _: MountKind = fields.required("type", context);
        let source = match kind {
            MountKind::Bind => {
                let path: PathBuf = fields.required("source", context);
                Some(path.to_string_lossy().into_owned())
            }
            MountKind::Volume => fields.optional("source", context),
            MountKind::Tmpfs => None,
        };
        let mount = Self {
            kind,
            source,
            target: fields.required("target", context),
            read_only: fields.field("read_only", context),
            bind: option(&mut fields, "bind", kind == MountKind::Bind, context),
            volume: option(&mut fields, "volume", kind == MountKind::Volume, context),
            tmpfs: option(&mut fields, "tmpfs", kind == MountKind::Tmpfs, context),
        };
        fields.finish(context);
        if let Some(target) = node.get("target")
            && target.as_text().is_some_and(|text| !text.starts_with('/'))
        {
            context.problems.error(target.span, message!("decode-mount-target", path = mount.target));
        } else if let Some(target) = node.get("target")
            && target.as_text().is_some_and(is_root)
        {
            context.problems.error(target.span, message!("decode-mount-root"));
        }
        Some(mount)
    }
}

/// Whether a path is the root folder, however it is written.
fn is_root(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    path.starts_with('/') && parts.all(|part| !matches!(part, Component::Normal(_)))
}

/// Options that belong to one kind of mount: for another kind the key is unknown.
fn option<T: Decode + Default>(
    fields: &mut Fields<'_>,
    key: &'static str,
    belongs: bool,
    context: &mut Context<'_>,
) -> T {
    if belongs { fields.field(key, context) } else { T::default() }
}

impl Decode for BindOptions {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let options = Self {
            propagation: fields.optional("propagation", context),
            selinux: selinux(&mut fields, context),
            create_host_path: fields.field("create_host_path", context),
        };
        fields.finish(context);
        let known = ["rprivate", "private", "rshared", "shared", "rslave", "slave"];
        if let Some(propagation) = options.propagation.as_deref().filter(|word| !known.contains(word)) {
            let message = message!("decode-propagation", propagation = propagation);
            context.problems.error_with_help(
                node.place(&["propagation"]),
                message,
                message!("help-one-of", words = Listed::of(known)),
            );
        }
        Some(options)
    }
}

impl Decode for VolumeOptions {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let options = Self {
            nocopy: fields.field("nocopy", context),
            selinux: selinux(&mut fields, context),
            subpath: fields.optional("subpath", context),
        };
        fields.finish(context);
        if options.selinux.is_some() && options.subpath.is_some() {
            context.problems.error(node.place(&["selinux"]), message!("decode-selinux-volume"));
        }
        Some(options)
    }
}

impl Decode for TmpfsOptions {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let options = Self { size: fields.optional("size", context), mode: fields.optional("mode", context) };
        fields.finish(context);
        Some(options)
    }
}

/// How SELinux labels a mount.
fn selinux(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<String> {
    let node = fields.node("selinux")?;
    let word = String::decode(node, context)?;
    if ["z", "Z"].contains(&word.as_str()) {
        return Some(word);
    }
    context.problems.error_with_help(node.span, message!("decode-selinux", word = word), message!("help-selinux"));
    None
}
