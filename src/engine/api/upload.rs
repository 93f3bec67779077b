//! Uploads to engines of other machines: one gzip stream, which every engine takes, around the archive.
//!
//! The network is slower there than gzip's fastest level. The layers inside, and their digests, stay as they are.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{Stream, StreamExt};

/// Compressed bytes are given on by so many at once.
const CHUNK: usize = 64 << 10;

/// The archive as one gzip stream; an archive that ends in an error does not get gzip's end.
pub(super) fn gzip<S>(archive: S) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let encoder = GzEncoder::new(Vec::with_capacity(2 * CHUNK), Compression::fast());
    futures::stream::unfold((Box::pin(archive), Some(encoder)), |(mut archive, encoder)| async move {
        let mut encoder = encoder?;
        loop {
            let taken = match archive.next().await {
                None => return Some((encoder.finish().map(Bytes::from), (archive, None))),
                Some(piece) => piece.and_then(|bytes| encoder.write_all(&bytes)),
            };
            if let Err(error) = taken {
                return Some((Err(error), (archive, None)));
            }
            if encoder.get_ref().len() >= CHUNK {
                let full = std::mem::replace(encoder.get_mut(), Vec::with_capacity(2 * CHUNK));
                return Some((Ok(full.into()), (archive, Some(encoder))));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn pieces(count: usize) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        futures::stream::iter((0..count).map(|number| Ok(Bytes::from(vec![number as u8; 100_000]))))
    }

    #[tokio::test]
    async fn an_upload_is_one_gzip_stream_of_the_same_bytes() {
        let sent: Vec<Bytes> = gzip(pieces(50)).map(Result::unwrap).collect().await;
        let sent = sent.concat();
        assert!(sent.len() < 100_000, "{}", sent.len());
        let mut plain = Vec::new();
        flate2::bufread::GzDecoder::new(sent.as_slice()).read_to_end(&mut plain).unwrap();
        assert_eq!(plain.len(), 5_000_000);
        assert!(
            plain.chunks(100_000).enumerate().all(|(number, piece)| piece.iter().all(|byte| *byte == number as u8))
        );
    }

    #[tokio::test]
    async fn an_archive_that_breaks_off_is_no_whole_stream() {
        let broken = pieces(3).chain(futures::stream::iter([Err(io::Error::other("stopped"))]));
        let sent: Vec<io::Result<Bytes>> = gzip(broken).collect().await;
        assert!(sent.last().unwrap().is_err());
        let bytes: Vec<u8> = sent.into_iter().filter_map(Result::ok).flatten().collect();
        assert!(flate2::bufread::GzDecoder::new(bytes.as_slice()).read_to_end(&mut Vec::new()).is_err());
    }
}
