//! Giving an image of the engine its name, without losing the image that had it.

use crate::engine::Engine;
use crate::failpoint;
use crate::images::error::{ImagesError, Shortfall};
use crate::images::names::{KEPT_REPOSITORY, engine_name, kept_tag};
use crate::manifest::Reference;
use crate::report::{Activity, Reporter};

/// Lets a reference name an image that the engine has, and keeps the one that it named, as a load does.
pub async fn rename(engine: &Engine, reference: &Reference, id: &str, reporter: &Reporter) -> Result<(), ImagesError> {
    let name = engine_name(reference).unwrap_or_else(|| reference.to_string());
    reporter.began(Activity::NameImage, &name, None);
    match retag(engine, reference, &name, id).await {
        Ok(Retagged { kept_as }) => {
            if let Some(kept) = kept_as {
                reporter.notice(message!("images-kept-under", reference = &name, kept = kept));
            }
            reporter.done(Activity::NameImage, &name, message!("images-named"));
            Ok(())
        }
        Err(error) => {
            reporter.failed(Activity::NameImage, &name, &error);
            Err(error)
        }
    }
}

/// A name has moved.
pub struct Retagged {
    /// What the image that had the name before is called now.
    pub kept_as: Option<String>,
}

/// Lets `reference` (`name` with its tag) name the image `id`. The one that it named before is given a name of its
/// own first: an image without any can be removed by anyone who tidies up, and on the containerd store goes at once.
pub async fn retag(engine: &Engine, reference: &Reference, name: &str, id: &str) -> Result<Retagged, ImagesError> {
    let before = engine.inspect_image(name).await?.map(|view| view.id);
    if before.as_deref() == Some(id) {
        return Ok(Retagged { kept_as: None });
    }
    let mut kept_as = None;
    if let Some((before, tag)) = before.as_deref().and_then(|before| Some((before, kept_tag(before)?))) {
        failpoint!("images.load.before-keep");
        engine.tag_image(before, KEPT_REPOSITORY, &tag).await?;
        kept_as = Some(format!("{KEPT_REPOSITORY}:{tag}"));
    }
    failpoint!("images.load.before-tag");
    engine.tag_image(id, reference.name(), reference.tag().unwrap_or("latest")).await?;
    failpoint!("images.load.after-tag");
    match engine.inspect_image(name).await? {
        Some(view) if view.id == id => Ok(Retagged { kept_as }),
        _ => {
            let (reference, had_image) = (name.to_owned(), before.is_some());
            Err(ImagesError::FellShort { reference, why: Shortfall::OtherTag, had_image, source: None })
        }
    }
}
