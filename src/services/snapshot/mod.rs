//! Everything that is looked at before a plan is made: what the project has on its engine, and what the engine's host
//! has to give. Changes nothing; throw-away containers are made only where the caller allows it.
//!
//! [`Observed`] answers questions (`status`, `logs`). A [`Snapshot`] is that and what its request needs to know beside:
//! only [`Snapshot::take`] makes one, so that no plan is made without its survey.

pub(in crate::services) mod drift;
mod folders;
mod gpus;
pub(in crate::services) mod helper;
pub(in crate::services) mod host;
pub(in crate::services) mod images;
pub(in crate::services) mod observe;
pub(in crate::services) mod observed;
pub(in crate::services) mod ownership;
mod packet_filter;
mod postgres_data;
pub(in crate::services) mod reach;
pub(in crate::services) mod resources;
mod sockets;
pub(in crate::services) mod sources;
mod starting;

use std::ops::Deref;

use crate::engine::Engine;
use crate::manifest::{Manifest, Variables, in_one_line, volume_users_beside};
use crate::services::error::ServicesError;
use crate::services::request::{Action, Extent, Request};
use observed::Observed;

/// How far a look may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Nothing is made on the engine.
    ReadOnly,
    /// Throw-away containers may be made, and some started.
    WithHelpers,
}

/// All that a plan for one request depends on.
#[derive(Debug, Clone, Default)]
pub struct Snapshot(Observed);

impl Snapshot {
    /// Looks at the engine, and at its host as far as the request needs it.
    pub async fn take(
        engine: &Engine,
        manifest: &Manifest,
        request: &Request,
        depth: Depth,
    ) -> Result<Self, ServicesError> {
        Self::complete(Observed::look(engine, manifest).await?, engine, manifest, (request, depth)).await
    }

    /// The same where the engine has been looked at already.
    pub async fn complete(
        mut observed: Observed,
        engine: &Engine,
        manifest: &Manifest,
        (request, depth): (&Request, Depth),
    ) -> Result<Self, ServicesError> {
        // What stops and goes needs nothing of the host.
        if matches!(request.action, Action::Start | Action::Restart) {
            host::survey(engine, manifest, request, depth, &mut observed).await?;
        }
        if request.action == Action::Remove && request.options.extent.contains(&Extent::Volumes) {
            match volume_users_beside(manifest, &Variables::of_process()) {
                Ok(users) => observed.volume_users = users,
                Err(error) => observed.volume_users_unknown = Some(in_one_line(&error)),
            }
        }
        Ok(Self(observed))
    }

    /// Lets the snapshot show a reference as the name of an image that the engine does not have yet. What the image
    /// declares is taken to be what the present one does.
    pub fn suppose_loaded(&mut self, reference: &str, id: String) {
        self.0.suppose_loaded(reference, id);
    }
}

impl Deref for Snapshot {
    type Target = Observed;

    fn deref(&self) -> &Observed {
        &self.0
    }
}

#[cfg(test)]
impl From<Observed> for Snapshot {
    fn from(observed: Observed) -> Self {
        Self(observed)
    }
}
