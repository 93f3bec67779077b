//! What each disk has to hold of a transfer.

use super::document::{PlannedFile, PlannedSeed, SpaceNeed};
use crate::sites::inventory::Inventory;

/// The needs of all disks that are written to; the project's folder first.
pub(super) fn needs(
    inventory: &Inventory,
    to_store: u64,
    files: &[PlannedFile],
    seeds: &[PlannedSeed],
) -> Vec<SpaceNeed> {
    let to_folder = files.iter().filter(|file| file.result.is_sent()).map(|file| file.bytes).sum();
    let mut disks = Disks(Vec::new());
    disks.add(inventory.folder_disk, (&inventory.folder, inventory.folder_free), to_folder);
    match inventory.store.present() {
        Some(store) => disks.add(store.disk, (&store.folder, store.free), to_store),
        None => disks.add(inventory.folder_disk, (&inventory.folder, inventory.folder_free), to_store),
    }
    for seed in seeds.iter().filter(|seed| seed.result.is_sent()) {
        let there = inventory.seeds.iter().find(|there| there.database == seed.database);
        match there.and_then(|there| there.on.as_ref()) {
            Some(on) => disks.add(Some(on.disk), (&on.folder, Some(on.free)), seed.bytes),
            None => disks.add(inventory.folder_disk, (&inventory.folder, inventory.folder_free), seed.bytes),
        }
    }
    disks.0.into_iter().map(|(_, need)| need).filter(|need| need.needed > 0).collect()
}

/// Each disk by its number, where that is known.
struct Disks(Vec<(Option<u64>, SpaceNeed)>);

impl Disks {
    fn add(&mut self, disk: Option<u64>, (folder, free): (&str, Option<u64>), needed: u64) {
        let is_same = |known: &(Option<u64>, SpaceNeed)| match (known.0, disk) {
            (Some(known), Some(disk)) => known == disk,
            // An older dpl told no numbers: the same figure twice is one disk.
            _ => known.1.folder == folder || known.1.free == free,
        };
        match self.0.iter_mut().find(|known| is_same(known)) {
            Some((_, known)) => known.needed += needed,
            None => self.0.push((disk, SpaceNeed { folder: folder.to_owned(), needed, free })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Digest;
    use crate::sites::inventory::{DiskInventory, Presence, SeedInventory, StoreInventory};
    use crate::sites::plan::FileResult;

    fn seed(database: &str, bytes: u64) -> PlannedSeed {
        let digest = Digest::of(database.as_bytes());
        PlannedSeed { database: database.to_owned(), result: FileResult::New, bytes, digest }
    }

    fn machine(store_disk: u64, seed_disk: u64) -> Inventory {
        let on = DiskInventory { folder: "/seeds".to_owned(), disk: seed_disk, free: 300 };
        let there = SeedInventory { database: "d".to_owned(), digest: None, bytes: 0, received: None, on: Some(on) };
        let store = StoreInventory {
            folder: "/images".to_owned(),
            free: Some(200),
            disk: Some(store_disk),
            ..StoreInventory::default()
        };
        Inventory {
            folder: "/project".to_owned(),
            folder_free: Some(100),
            folder_disk: Some(1),
            store: Presence::Present(store),
            seeds: vec![there],
            ..Inventory::default()
        }
    }

    fn said(inventory: &Inventory) -> Vec<(String, u64, Option<u64>)> {
        let seeds = [seed("d", 10), seed("unknown", 1)];
        needs(inventory, 50, &[], &seeds).into_iter().map(|need| (need.folder, need.needed, need.free)).collect()
    }

    #[test]
    fn each_disk_that_is_written_to_has_its_need_and_one_disk_has_one() {
        let need = |folder: &str, needed, free| (folder.to_owned(), needed, Some(free));
        let three = [need("/project", 1, 100), need("/images", 50, 200), need("/seeds", 10, 300)];
        assert_eq!(said(&machine(2, 3)), three);
        assert_eq!(said(&machine(2, 2)), [need("/project", 1, 100), need("/images", 60, 200)]);
        assert_eq!(said(&machine(1, 1)), [need("/project", 61, 100)]);
        let nothing_known = Inventory { folder: "/project".to_owned(), folder_free: Some(7), ..Inventory::default() };
        assert_eq!(said(&nothing_known), [need("/project", 61, 7)]);
    }
}
