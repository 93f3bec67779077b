//! Named volumes.

use std::collections::BTreeMap;

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptionsBuilder};

use super::networks::map;
use crate::engine::client::Engine;
use crate::engine::error::EngineError;

/// A volume to create (`POST /volumes/create`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeSpec {
    pub name: String,
    pub driver: Option<String>,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// A volume as the engine has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeView {
    pub name: String,
    pub driver: String,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub mountpoint: String,
}

impl Engine {
    /// All volumes (`GET /volumes`).
    pub async fn list_volumes(&self) -> Result<Vec<VolumeView>, EngineError> {
        let options = ListVolumesOptionsBuilder::default().build();
        let answer = self
            .with_timeout(self.docker().list_volumes(Some(options)))
            .await
            .map_err(|error| EngineError::new(message!("verb-list-objects"), message!("object-volumes"), error))?;
        let volumes = answer.volumes.unwrap_or_default().into_iter().map(|volume| VolumeView {
            name: volume.name,
            driver: volume.driver,
            options: volume.options.into_iter().collect(),
            labels: volume.labels.into_iter().collect(),
            mountpoint: volume.mountpoint,
        });
        Ok(volumes.collect())
    }

    pub async fn create_volume(&self, spec: &VolumeSpec) -> Result<(), EngineError> {
        self.ensure_locked().await?;
        let request = VolumeCreateRequest {
            name: Some(spec.name.clone()),
            driver: spec.driver.clone(),
            driver_opts: Some(map(&spec.options)),
            labels: Some(map(&spec.labels)),
            ..Default::default()
        };
        self.with_timeout(self.docker().create_volume(request)).await.map(drop).map_err(|error| {
            EngineError::new(message!("verb-create-object"), message!("object-volume", name = spec.name), error)
        })
    }

    pub async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        self.ensure_locked().await?;
        self.with_timeout(self.docker().remove_volume(name, Some(RemoveVolumeOptionsBuilder::default().build())))
            .await
            .map_err(|error| {
                EngineError::new(message!("verb-remove-object"), message!("object-volume", name = name), error)
            })
    }
}
