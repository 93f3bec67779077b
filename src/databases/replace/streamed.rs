//! A small dump restored through the engine's stream, by a pg_restore in the server's own container: a container of its own
//! takes longer to start than such a dump to restore.
//!
//! The files of a directory archive are the members of a tar, in the order in which its table of contents names them (what
//! pg_dump's `pg_backup_tar.c` wants of a stream). The digests of all of them were compared before; what comes out is
//! compared by the restore, as it always is.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use tokio::sync::mpsc;

use super::options::Adaptation;
use crate::databases::archive::header;
use crate::databases::archive::record::ARCHIVE;
use crate::databases::archive::tar_stream::{self, BLOCK, TABLE_OF_CONTENTS};
use crate::databases::containers::feed::{Fed, feed_exec};
use crate::databases::dump::streamed;
use crate::databases::error::{DatabasesError, Said};
use crate::databases::server::connect::Server;
use crate::engine::ExecSession;

/// How much is read and sent at once.
const CHUNK: usize = 256 << 10;

/// An archive whose files can be sent.
pub(super) struct Streamed {
    archive_path: PathBuf,
    /// In the order of the table of contents: names without what says how they are compressed.
    members: Vec<String>,
}

impl Streamed {
    /// The archive in a folder of ours; `None` where it holds something else than tables' rows, or can't be a tar. On
    /// `server`, which lists it.
    pub async fn open(server: &Server, folder: &Path, subject: &str) -> Result<Option<Self>, DatabasesError> {
        let archive_path = folder.join(ARCHIVE);
        let path = archive_path.join(TABLE_OF_CONTENTS);
        let table_of_contents = std::fs::read(&path).map_err(DatabasesError::file(message!("verb-read"), &path))?;
        // One that came from an engine elsewhere was compressed by pg_dump itself.
        if !header::fits_a_tar(&table_of_contents) {
            return Ok(None);
        }
        let mut session = server.client.session(server.home()).await?;
        let contents = streamed::list(&mut session, &server.client, &table_of_contents, subject).await?;
        let _ = session.close().await;
        let members: Vec<String> = contents.in_order.iter().map(|id| format!("{id}.dat")).collect();
        let mut expected: Vec<String> = members.clone();
        let mut there = Vec::new();
        let fail = || DatabasesError::file(message!("verb-list"), &archive_path);
        for entry in std::fs::read_dir(&archive_path).map_err(fail())? {
            let name = entry.map_err(fail())?.file_name().to_string_lossy().into_owned();
            there.push(name.strip_suffix(".gz").unwrap_or(&name).to_owned());
        }
        expected.push(TABLE_OF_CONTENTS.to_owned());
        expected.sort();
        there.sort();
        Ok((expected == there).then_some(Self { archive_path, members }))
    }

    /// Sends it to a pg_restore that waits for it, and hears how that ends.
    pub async fn send(self, restoring: Restoring, subject: &str) -> Result<(), DatabasesError> {
        let Self { archive_path, members } = self;
        let pack = move |pieces: &mpsc::Sender<Bytes>| pack(&archive_path, &members, pieces);
        match feed_exec(restoring.0, usize::MAX, pack).await? {
            Fed { exit_code: 0, .. } => Ok(()),
            Fed { exit_code: code, said } => {
                let (database, source) = (subject.to_owned(), Said::new(&said));
                Err(DatabasesError::Tool { program: "pg_restore", database, code, source })
            }
        }
    }
}

/// A pg_restore that reads its input before it connects, so that the database need not be there yet.
pub(super) struct Restoring(ExecSession);

impl Restoring {
    pub async fn start(server: &Server, target: &str, adaptation: &Adaptation) -> Result<Self, DatabasesError> {
        let mut arguments = ["--format=tar", "--exit-on-error", "--no-password"].map(str::to_owned).to_vec();
        arguments.extend(adaptation.arguments());
        arguments.push(format!("--dbname={}", server.client.restoring_conninfo(target)));
        Ok(Self(server.client.start("pg_restore", &arguments).await?))
    }
}

/// Writes the tar; ends early without an error when nobody listens any more.
fn pack(archive_path: &Path, members: &[String], pieces: &mpsc::Sender<Bytes>) -> Result<(), DatabasesError> {
    let names = std::iter::once(TABLE_OF_CONTENTS).chain(members.iter().map(String::as_str));
    for name in names {
        if !pack_one(archive_path, name, pieces)? {
            return Ok(());
        }
    }
    let _ = pieces.blocking_send(Bytes::from(vec![0; 2 * BLOCK]));
    Ok(())
}

/// `false` when nobody listens any more.
fn pack_one(archive_path: &Path, name: &str, pieces: &mpsc::Sender<Bytes>) -> Result<bool, DatabasesError> {
    let path = archive_path.join(name);
    let fail = || DatabasesError::file(message!("verb-read"), &path);
    // A tar says the size of a member before it; most are as small as one piece.
    let mut reader = open(&path).map_err(fail())?;
    let mut first = vec![0; CHUNK];
    let filled = tar_stream::fill(reader.as_mut(), &mut first).map_err(fail())?;
    first.truncate(filled);
    let rest = if filled < CHUNK { 0 } else { io::copy(&mut reader, &mut io::sink()).map_err(fail())? };
    let bytes = filled as u64 + rest;
    let mut head = tar_stream::head(name, bytes).as_bytes().to_vec();
    if rest == 0 {
        head.extend_from_slice(&first);
        head.resize(head.len() + tar_stream::padding(bytes), 0);
        return Ok(pieces.blocking_send(head.into()).is_ok());
    }
    let mut reader = open(&path).map_err(fail())?.take(bytes);
    let mut is_heard = pieces.blocking_send(head.into()).is_ok();
    let mut sent = 0;
    while is_heard && sent < bytes {
        let mut piece = vec![0; CHUNK];
        let filled = tar_stream::fill(&mut reader, &mut piece).map_err(fail())?;
        if filled == 0 {
            return Err(fail()(io::ErrorKind::UnexpectedEof.into()));
        }
        piece.truncate(filled);
        sent += filled as u64;
        is_heard = pieces.blocking_send(piece.into()).is_ok();
    }
    Ok(is_heard && pieces.blocking_send(vec![0; tar_stream::padding(bytes)].into()).is_ok())
}

/// A file of the archive as it was before it was compressed.
fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut compressed = path.as_os_str().to_owned();
    compressed.push(".gz");
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Box::new(MultiGzDecoder::new(File::open(PathBuf::from(compressed))?)))
        }
        opened => Ok(Box::new(opened?)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_folder_becomes_a_tar_in_the_order_of_its_contents() {
        let folder = tempfile::tempdir().unwrap();
        let large = b"1\trow\n".repeat(100_000);
        std::fs::write(folder.path().join("toc.dat"), b"toc").unwrap();
        std::fs::write(folder.path().join("8.dat"), b"plain").unwrap();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&large).unwrap();
        std::fs::write(folder.path().join("7.dat.gz"), encoder.finish().unwrap()).unwrap();
        let (sender, mut receiver) = mpsc::channel(1 << 10);
        pack(folder.path(), &["8.dat".to_owned(), "7.dat".to_owned()], &sender).unwrap();
        drop(sender);
        let mut tar = Vec::new();
        while let Some(piece) = receiver.blocking_recv() {
            tar.extend_from_slice(&piece);
        }
        let mut archive = tar::Archive::new(&tar[..]);
        let members: Vec<(String, Vec<u8>)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                (entry.path().unwrap().display().to_string(), bytes)
            })
            .collect();
        let wanted = [("toc.dat", b"toc".to_vec()), ("8.dat", b"plain".to_vec()), ("7.dat", large)];
        assert_eq!(members, wanted.map(|(name, bytes)| (name.to_owned(), bytes)));
        assert!(pack(folder.path(), &["9.dat".to_owned()], &mpsc::channel(8).0).is_err());
    }
}
