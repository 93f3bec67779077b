//! What the engine makes no container with, or makes one with and ignores.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::Checker;

impl Checker<'_> {
    /// Two mounts at one path: the engine refuses them, or one hides the other (`tmpfs`).
    pub(super) fn mount_targets(&mut self) {
        for (name, service) in self.services() {
            let mounts = service.volumes.iter().enumerate().map(|(index, mount)| ("volumes", index, &mount.target));
            let memory = service.tmpfs.iter().enumerate().map(|(index, tmpfs)| ("tmpfs", index, &tmpfs.target));
            let mut taken: HashSet<PathBuf> = HashSet::new();
            // One without a target is told elsewhere.
            for (field, index, target) in mounts.chain(memory).filter(|(_, _, target)| !target.is_empty()) {
                // As the engine compares them: `/data/` is `/data`.
                if !taken.insert(Path::new(target).components().collect()) {
                    let span = self.root.place(&["services", name, field, &index.to_string()]);
                    self.problems.error(span, message!("check-mount-twice", target = target));
                }
            }
        }
    }

    pub(super) fn working_dirs(&mut self) {
        for (name, service) in self.services() {
            if let Some(folder) =
                service.working_dir.as_ref().filter(|folder| !folder.is_empty() && !folder.starts_with('/'))
            {
                let span = self.root.place(&["services", name, "working_dir"]);
                self.problems.error(span, message!("check-working-dir", folder = folder));
            }
        }
    }
}
