//! Single files of containers, running or not.

use std::io::Read;

use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use futures::TryStreamExt;

use crate::engine::client::Engine;
use crate::engine::error::{EngineError, EngineErrorKind};

/// No file that is read this way is larger, with what an archive adds to it.
const LARGEST_ARCHIVE: usize = 1 << 20;

impl Engine {
    /// The content of a small regular file, `None` where there is none (`GET /containers/{id}/archive`). A container
    /// that was never started will do: the engine looks through its mounts as well.
    pub async fn read_file(&self, container: &str, path: &str) -> Result<Option<Vec<u8>>, EngineError> {
        let object = message!("object-file-in", path = path, name = container);
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let mut stream = std::pin::pin!(self.docker().download_from_container(container, Some(options)));
        let mut archive = Vec::new();
        loop {
            match self.with_timeout(stream.try_next()).await {
                Ok(Some(chunk)) if archive.len() + chunk.len() > LARGEST_ARCHIVE => {
                    let cause = message!("engine-file-too-large");
                    return Err(EngineError::other(
                        EngineErrorKind::Refused,
                        message!("verb-read-object"),
                        object,
                        cause,
                    ));
                }
                Ok(Some(chunk)) => archive.extend_from_slice(&chunk),
                Ok(None) => return Ok(first_file(&archive)),
                Err(error) => {
                    let error = EngineError::new(message!("verb-read-object"), object, error);
                    return if error.is_not_found() { Ok(None) } else { Err(error) };
                }
            }
        }
    }
}

/// The archive is data: nothing is unpacked, and a link leads nowhere.
fn first_file(archive: &[u8]) -> Option<Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let entry = archive.entries().ok()?.next()?.ok()?;
    if !entry.header().entry_type().is_file() {
        return None;
    }
    let mut content = Vec::new();
    entry.take(LARGEST_ARCHIVE as u64).read_to_end(&mut content).ok()?;
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_has_content() {
        let archive = |kind: tar::EntryType| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(if kind.is_file() { 3 } else { 0 });
            let mut archive = tar::Builder::new(Vec::new());
            let content: &[u8] = if kind.is_file() { b"15\n" } else { b"" };
            archive.append_data(&mut header, "PG_VERSION", content).unwrap();
            archive.into_inner().unwrap()
        };
        assert_eq!(first_file(&archive(tar::EntryType::Regular)).as_deref(), Some(b"15\n".as_slice()));
        assert_eq!(first_file(&archive(tar::EntryType::Directory)), None);
        assert_eq!(first_file(b"no archive"), None);
    }
}
