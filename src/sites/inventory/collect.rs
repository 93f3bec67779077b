//! Making an inventory of this machine.

use std::path::Path;

use futures::{StreamExt, TryStreamExt};

use super::document::{
    EngineImage, EngineInventory, ImageStoreKind, Inventory, PartInventory, StoreImage, StoreInventory,
};
use super::files::{self, Received};
use super::layers::LayerTable;
use super::presence::Presence;
use super::seeds;
use crate::engine::{Address, Engine, EngineError, ImageStore, image_architecture};
use crate::fs::Disk;
use crate::images::{StoreContents, store_contents};
use crate::manifest::ComingFiles;
use crate::report::in_one_line;
use crate::sites::place::{first_problem, relative};
use crate::sites::protocol::InventoryRequest;
use crate::state::Operator;

/// At so many images of the engine is looked at once.
const INSPECTED_AT_ONCE: usize = 8;

/// Makes an inventory of this machine. What can't be looked at is said in it.
pub async fn collect(request: &InventoryRequest) -> Inventory {
    collect_with(request, &ComingFiles::default()).await
}

/// As [`collect`], of the store and the seeds that a manifest names whose files are on their way.
pub async fn collect_with(request: &InventoryRequest, coming: &ComingFiles) -> Inventory {
    let place = &request.project;
    let disk = Disk::of(&place.folder);
    let mut inventory = Inventory {
        format: Inventory::FORMAT,
        made_at: jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string(),
        dpl: env!("CARGO_PKG_VERSION").to_owned(),
        host: Operator::of_process().host,
        architecture: image_architecture(std::env::consts::ARCH).to_owned(),
        folder: place.folder.display().to_string(),
        manifest: place.manifest_path().map(|path| relative(&place.folder, &path)),
        folder_free: disk.map(|disk| disk.free_bytes),
        folder_disk: disk.map(|disk| disk.device),
        ..Inventory::default()
    };
    let loaded = match place.read_manifest_with(coming) {
        Some(Ok(loaded)) => Some(loaded),
        Some(Err(errors)) => {
            inventory.manifest_problem = Some(first_problem(&errors));
            None
        }
        None => None,
    };
    let engine = look_at_engine(place.engine_address()).await;
    let architecture = engine.as_ref().ok().map(|(engine, _)| engine.architecture.clone());
    let store = loaded.as_ref().and_then(|loaded| loaded.manifest.paths.images.clone());
    let read = blocking({
        let request = request.clone();
        move || {
            let store = store.map(|folder| {
                let contents = store_contents(&folder, architecture.as_deref());
                (contents.map_err(|error| in_one_line(&error)), folder)
            });
            let received = Received::read(&request.project.folder);
            let files = files::look(&request, loaded.as_ref(), &received);
            let seeds = match (&loaded, request.seeds) {
                (Some(loaded), true) => seeds::look(&loaded.manifest, &received),
                _ => Vec::new(),
            };
            (store, files, seeds, loaded.map(|loaded| loaded.manifest.project))
        }
    });
    let (store, files, seeds, project) = read.await;
    (inventory.files, inventory.seeds, inventory.project) = (files, seeds, project);
    let mut table = LayerTable::default();
    match store {
        Some((Ok(contents), folder)) => inventory.store = Presence::Present(store_part(&contents, &folder, &mut table)),
        Some((Err(why), _)) => inventory.store = Presence::Unknown(why),
        None => {}
    }
    match engine {
        Ok((engine, images)) => inventory.engine = Presence::Present(engine_part(engine, images, &mut table)),
        Err(why) => inventory.engine = Presence::Unknown(why),
    }
    inventory.layers = table.into_layers();
    inventory
}

fn store_part(contents: &StoreContents, folder: &Path, table: &mut LayerTable) -> StoreInventory {
    *table = LayerTable::of(&contents.layers);
    let images = contents.images.iter().map(|image| StoreImage {
        reference: image.reference.clone(),
        image_id: image.image_id.clone(),
        manifest: image.manifest.clone(),
        layers: image.layers.iter().map(|(diff_id, blob)| table.place(diff_id, Some(blob))).collect(),
    });
    let images = images.collect();
    let part = |part: &crate::images::IncomingBlob| PartInventory { digest: part.blob.clone(), bytes: part.bytes };
    let disk = Disk::of(folder);
    StoreInventory {
        folder: folder.display().to_string(),
        free: disk.map(|disk| disk.free_bytes),
        disk: disk.map(|disk| disk.device),
        images,
        incoming: contents.incoming.iter().map(part).collect(),
    }
}

/// An image as the engine shows it.
struct LookedAt {
    id: String,
    references: Vec<String>,
    diff_ids: Vec<crate::fs::Digest>,
}

fn engine_part(mut engine: EngineInventory, images: Vec<LookedAt>, table: &mut LayerTable) -> EngineInventory {
    engine.images = images
        .into_iter()
        .map(|image| EngineImage {
            id: image.id,
            references: image.references,
            layers: image.diff_ids.iter().map(|diff_id| table.place(diff_id, None)).collect(),
        })
        .collect();
    engine
}

async fn look_at_engine(address: Option<&str>) -> Result<(EngineInventory, Vec<LookedAt>), String> {
    let address = Address::resolve(address).map_err(|error| in_one_line(&error))?;
    let engine = Engine::connect(address).await.map_err(|error| in_one_line(&error))?;
    look_at(&engine).await.map_err(|error| in_one_line(&error))
}

async fn look_at(engine: &Engine) -> Result<(EngineInventory, Vec<LookedAt>), EngineError> {
    let facts = engine.facts().await?;
    let listed = engine.list_images().await?.into_iter().filter(|image| image.complete);
    let mut images: Vec<LookedAt> = futures::stream::iter(listed)
        .map(|image| async move {
            let view = engine.inspect_image(&image.id).await?;
            let diff_ids =
                view.and_then(|view| view.diff_ids.iter().map(|id| id.parse().ok()).collect::<Option<Vec<_>>>());
            Ok::<_, EngineError>(diff_ids.map(|diff_ids| LookedAt { id: image.id, references: image.tags, diff_ids }))
        })
        .buffered(INSPECTED_AT_ONCE)
        // One that went away meanwhile is none.
        .try_filter_map(|image| async move { Ok(image) })
        .try_collect()
        .await?;
    images.sort_by(|one, other| one.id.cmp(&other.id));
    let inventory = EngineInventory {
        version: facts.version.clone(),
        store: match facts.image_store {
            ImageStore::Classic => ImageStoreKind::Classic,
            ImageStore::Containerd => ImageStoreKind::Containerd,
        },
        driver: facts.storage_driver.clone(),
        architecture: facts.architecture.clone(),
        free: free_bytes(&facts.root_dir),
        images: Vec::new(),
    };
    Ok((inventory, images))
}

/// Free bytes where `path` is, or will be.
pub(in crate::sites) fn free_bytes(path: &Path) -> Option<u64> {
    crate::fs::Disk::of(path).map(|disk| disk.free_bytes)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Digest;
    use crate::sites::protocol::ProjectPlace;

    #[tokio::test]
    async fn an_inventory_says_what_is_there_and_what_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "stack.json",
            r#"{"project": "p", "paths": {"images": "store"}, "databases": {"d": {"service": "db", "seed": "d.sql"}},
                "services": {"db": {"image": "postgres:15", "env_file": "db.env"}}}"#,
        );
        write("db.env", "A=1\n");
        write("d.sql", "SELECT 1;\n");
        let engine = ("DOCKER_HOST".to_owned(), "unix:///nonexistent".to_owned());
        let project = ProjectPlace {
            folder: folder.path().to_owned(),
            manifest: Some("stack.json".to_owned()),
            variables: [engine].into(),
        };
        let files = vec!["new.conf".to_owned()];
        let request = InventoryRequest { project, files, seeds: true, ..InventoryRequest::default() };
        let found = collect(&request).await;
        assert_eq!((found.project.as_deref(), found.manifest.as_deref()), (Some("p"), Some("stack.json")));
        let files: Vec<_> = found.files.iter().map(|file| (file.path.as_str(), file.digest.clone())).collect();
        let stack = Digest::of(&std::fs::read(folder.path().join("stack.json")).unwrap());
        assert_eq!(files, [("db.env", Some(Digest::of(b"A=1\n"))), ("new.conf", None), ("stack.json", Some(stack))]);
        assert!(found.engine.problem().is_some(), "{found:?}");
        assert!(
            found.store.present().is_some_and(|store| store.images.is_empty() && store.free.is_some()),
            "{found:?}"
        );
        assert!(found.seeds[0].digest.is_some() && found.seeds[0].bytes == 10, "{found:?}");
        let text = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Inventory>(&text).unwrap(), found);
    }
}
