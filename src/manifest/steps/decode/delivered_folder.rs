//! Folders that a delivery brings.

use std::path::Path;

use super::{Context, Decode, Fields};
use crate::manifest::model::{DeliveredFolder, MOST_REMOVED, Permissions};
use crate::manifest::text::node::Node;

impl Decode for DeliveredFolder {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let f = &mut fields;
        let folder = Self {
            from: f.required("from", context),
            to: f.required("to", context),
            mode: f.field("mode", context),
            owner: f.optional("owner", context),
            permissions: f.field("permissions", context),
            exclude: f.field("exclude", context),
            restart: f.field("restart", context),
            was: f.field("was", context),
            most_removed: f.field_or("most_removed", MOST_REMOVED, context),
            outside: f.field("outside", context),
        };
        fields.finish(context);
        if folder.most_removed > 100 {
            let message = message!("decode-most-removed", percent = folder.most_removed);
            context.problems.error(node.place(&["most_removed"]), message);
        }
        for (index, name) in folder.was.iter().enumerate() {
            let is_name = Path::new(name).file_name().is_some_and(|last| last == name.as_str());
            if !is_name {
                let message = message!("decode-was", name = name);
                context.problems.error(node.place(&["was", &index.to_string()]), message);
            }
        }
        Some(folder)
    }
}

impl Decode for Permissions {
    fn decode(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, context)?;
        let permissions =
            Self { files: fields.optional("files", context), folders: fields.optional("folders", context) };
        fields.finish(context);
        Some(permissions)
    }
}
