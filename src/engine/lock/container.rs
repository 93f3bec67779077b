//! The container that is a lock: made, looked at, its beat written, removed.

use std::io::Read;

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, DownloadFromContainerOptionsBuilder,
    RemoveContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use futures::StreamExt;

use super::{LockRequest, LockView};
use crate::engine::connect::Engine;
use crate::engine::error::EngineError;

/// An image of nothing is enough for a container that never starts.
const IMAGE: (&str, &str) = ("dpl-lock", "1");
const HOLDER: &str = "dpl.lock.holder";
const BEAT_FILE: &str = "beat";
/// A beat is a number; a file that is longer was not written by us.
const LARGEST_BEAT: u64 = 32;

impl Engine {
    /// Makes the lock; gives its ID, or `None` when somebody has it.
    pub(super) async fn make_lock(&self, request: &LockRequest) -> Result<Option<String>, EngineError> {
        let labels = request.labels.clone().into_iter().chain([(HOLDER.to_owned(), request.holder.clone())]);
        let body = ContainerCreateBody {
            image: Some(format!("{}:{}", IMAGE.0, IMAGE.1)),
            cmd: Some(vec!["never-started".to_owned()]),
            labels: Some(labels.collect()),
            ..Default::default()
        };
        let mut has_image = true;
        loop {
            let options = CreateContainerOptionsBuilder::default().name(&request.name).build();
            match self.docker().create_container(Some(options), body.clone()).await {
                Ok(created) => return Ok(Some(created.id)),
                Err(error) => {
                    let error = EngineError::new("create", format!("the lock {}", request.name), error);
                    if error.is_conflict() {
                        return Ok(None);
                    }
                    if !(error.is_not_found() && has_image) {
                        return Err(error);
                    }
                    has_image = false;
                    self.make_lock_image().await?;
                }
            }
        }
    }

    async fn make_lock_image(&self) -> Result<(), EngineError> {
        let options = CreateImageOptionsBuilder::default().from_src("-").repo(IMAGE.0).tag(IMAGE.1).build();
        // Two empty blocks are an empty archive.
        let archive = bollard::body_full(Bytes::from_static(&[0; 1024]));
        let mut lines = std::pin::pin!(self.docker().create_image(Some(options), Some(archive), None));
        while let Some(line) = lines.next().await {
            line.map_err(|error| EngineError::new("import", format!("the image {}:{}", IMAGE.0, IMAGE.1), error))?;
        }
        Ok(())
    }

    /// The lock as it is now.
    pub(super) async fn read_lock(&self, name: &str) -> Result<Option<LockView>, EngineError> {
        let Some(container) = self.inspect_container(name).await? else {
            return Ok(None);
        };
        let beat = self.read_beat(&container.id).await?;
        let holder = container.labels.get(HOLDER).cloned().unwrap_or_default();
        Ok(Some(LockView { id: container.id, holder, beat }))
    }

    async fn read_beat(&self, id: &str) -> Result<Option<u64>, EngineError> {
        let options = DownloadFromContainerOptionsBuilder::default().path(BEAT_FILE).build();
        let mut archive = Vec::new();
        let mut pieces = std::pin::pin!(self.docker().download_from_container(id, Some(options)));
        while let Some(piece) = pieces.next().await {
            match piece {
                // A tar of one short file; whatever follows its first blocks says nothing.
                Ok(piece) if archive.len() < 4096 => archive.extend_from_slice(&piece),
                Ok(_) => break,
                Err(error) => {
                    let error = EngineError::new("read", format!("the lock {id}"), error);
                    return if error.is_not_found() { Ok(None) } else { Err(error) };
                }
            }
        }
        let mut archive = tar::Archive::new(archive.as_slice());
        let mut text = String::new();
        if let Ok(mut entries) = archive.entries()
            && let Some(Ok(entry)) = entries.next()
        {
            let _ = entry.take(LARGEST_BEAT).read_to_string(&mut text);
        }
        Ok(text.trim().parse().ok())
    }

    /// Writes the beat; whether the lock is still there.
    pub(super) async fn write_beat(&self, id: &str, beat: u64) -> Result<bool, EngineError> {
        let text = beat.to_string();
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        let mut archive = tar::Builder::new(Vec::new());
        let archive = archive
            .append_data(&mut header, BEAT_FILE, text.as_bytes())
            .and_then(|()| archive.into_inner())
            .map_err(|error| EngineError::new("write", format!("the lock {id}"), error.into()))?;
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        match self.docker().upload_to_container(id, Some(options), bollard::body_full(archive.into())).await {
            Ok(()) => Ok(true),
            Err(error) => {
                let error = EngineError::new("write", format!("the lock {id}"), error);
                if error.is_not_found() { Ok(false) } else { Err(error) }
            }
        }
    }

    /// Removes the lock; one that is gone already is fine.
    pub(super) async fn remove_lock(&self, id: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).build();
        match self.docker().remove_container(id, Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let error = EngineError::new("remove", format!("the lock {id}"), error);
                // Somebody else is removing it at this moment.
                if error.is_not_found() || error.is_conflict() { Ok(()) } else { Err(error) }
            }
        }
    }
}
