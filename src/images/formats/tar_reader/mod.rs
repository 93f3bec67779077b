//! Reading a tar stream as data, by rules of our own, and the headers for writing one.
//!
//! Only the archive's outer shell is read here (a few hundred entries); layers pass through unopened. `tar::Header`
//! reads the fields. The walk over them is ours, since `tar::Archive` reads extension headers of any size into memory
//! and unpacking rules are of no use to us: nothing is ever written under an entry's own name.

use std::io::{self, Read, Seek, SeekFrom};

use tar::{EntryType, Header};

use crate::report::{Message, Told};

const BLOCK: u64 = 512;
/// The bytes of a header, and what contents are filled up to.
pub const BLOCK_BYTES: usize = BLOCK as usize;
/// A layer's folder and name need 80 bytes; nobody needs more than this for a path.
const PATH_LIMIT_BYTES: usize = 512;
/// PAX records carry times and names, a few hundred bytes.
const EXTENSION_LIMIT_BYTES: u64 = 64 * 1024;
/// The size field of a plain header holds eleven octal digits.
const USTAR_SIZE_END: u64 = 1 << 33;
/// No disk holds a file of 1 PiB; sums of sizes below stay numbers.
const SIZE_LIMIT_BYTES: u64 = 1 << 50;
/// Some programs fill the last block of a tape or of a device with zeros.
const END_LIMIT_BYTES: u64 = 64 << 20;
/// An image has at most 127 layers with three files each: enough for a hundred images in one archive.
const ENTRY_LIMIT: usize = 65_536;

/// Why a stream is no archive that may be read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    Read(#[source] io::Error),
    NotTar,
    CutOff { at_byte: u64 },
    Header { at_byte: u64, why: Message },
    Refused { path: String, why: Message },
    TooManyEntries,
}

impl Told for TarError {
    fn message(&self) -> Message {
        match self {
            Self::Read(_) => message!("error-tar-read"),
            Self::NotTar => message!("error-tar-not-tar"),
            Self::CutOff { at_byte } => message!("error-tar-cut-off", at = at_byte),
            Self::Header { at_byte, why } => message!("error-tar-header", at = at_byte, why = why),
            Self::Refused { path, why } => message!("error-tar-refused", path = path, why = why),
            Self::TooManyEntries => message!("error-tar-entries", most = ENTRY_LIMIT),
        }
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TarKind {
    File {
        size_bytes: u64,
    },
    Folder,
    /// A symbolic or a hard link: the path inside the archive that it leads to.
    Link {
        target: String,
    },
}

/// An entry; its path is relative, without `.` and `..`, with single slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarEntry {
    pub path: String,
    pub kind: TarKind,
}

/// Where a tar stream comes from: a pipe, or a file in which whole layers can be jumped over.
pub trait TarSource: Read {
    /// Leaves `bytes` bytes out.
    fn skip(&mut self, bytes: u64) -> io::Result<()>;
}

/// A stream that can only be read.
pub struct Streamed<R>(pub R);

impl<R: Read> Read for Streamed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> TarSource for Streamed<R> {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let copied = io::copy(&mut (&mut self.0).take(bytes), &mut io::sink())?;
        if copied == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// A file that is the archive itself, uncompressed.
pub struct Seekable<R>(pub R);

impl<R: Read> Read for Seekable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read + Seek> TarSource for Seekable<R> {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        // A seek beyond the end succeeds; reading the last byte tells whether it was there.
        let Some(jump) = bytes.checked_sub(1) else {
            return Ok(());
        };
        self.0.seek(SeekFrom::Current(i64::try_from(jump).map_err(io::Error::other)?))?;
        self.0.read_exact(&mut [0])
    }
}

/// Walks over the entries of a tar stream.
pub struct TarReader<S> {
    source: S,
    position: u64,
    /// Bytes of the current entry that nobody has read yet, and the padding after them.
    unread: u64,
    padding: u64,
    entries: usize,
}

/// What the extension headers before an entry say of it.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl<S: TarSource> TarReader<S> {
    pub fn new(source: S) -> Self {
        Self { source, position: 0, unread: 0, padding: 0, entries: 0 }
    }

    /// The next entry, or `None` after the end mark and all that follows it. What was not read of the entry before
    /// is left out.
    pub fn next_entry(&mut self) -> Result<Option<TarEntry>, TarError> {
        let mut extensions = Extensions::default();
        loop {
            self.finish_entry()?;
            let Some(header) = self.header()? else {
                return if extensions.is_empty() {
                    Ok(None)
                } else {
                    Err(TarError::Header { at_byte: self.position, why: message!("tar-extension-alone") })
                };
            };
            self.entries += 1;
            if self.entries > ENTRY_LIMIT {
                return Err(TarError::TooManyEntries);
            }
            let damaged = |why| TarError::Header { at_byte: self.position - BLOCK, why };
            let declared = declared_size(&header.as_old().size).map_err(damaged)?;
            match header.entry_type() {
                EntryType::XHeader => {
                    let records = self.extension(declared)?;
                    read_pax(&records, &mut extensions)
                        .map_err(|why| TarError::Header { at_byte: self.position, why })?;
                }
                EntryType::XGlobalHeader => {
                    let records = self.extension(declared)?;
                    let mut global = Extensions::default();
                    let read = read_pax(&records, &mut global);
                    // Programs differ in which files such a header speaks of.
                    let read = read.and(if global.is_empty() { Ok(()) } else { Err(message!("tar-global-files")) });
                    read.map_err(|why| TarError::Header { at_byte: self.position, why })?;
                }
                kind @ (EntryType::GNULongName | EntryType::GNULongLink) => {
                    let name = until_nul(self.extension(declared)?);
                    let place =
                        if kind == EntryType::GNULongName { &mut extensions.path } else { &mut extensions.link };
                    set(place, name).map_err(|why| TarError::Header { at_byte: self.position, why })?;
                }
                _ => return self.entry(&header, declared, extensions).map(Some),
            }
        }
    }

    fn entry(&mut self, header: &Header, declared: u64, extensions: Extensions) -> Result<TarEntry, TarError> {
        let raw_path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let shown = String::from_utf8_lossy(&raw_path).chars().take(120).collect::<String>().escape_debug().to_string();
        let refused = |why| TarError::Refused { path: shown.clone(), why };
        // Programs that disagree on an entry's size read different archives (CVE-2025-62518): the two must be equal,
        // or the old field must be unset because the size does not fit into it.
        let size_bytes = match extensions.size {
            Some(size) if size != declared && !(declared == 0 && size >= USTAR_SIZE_END) => {
                return Err(refused(message!("tar-two-sizes")));
            }
            Some(size) => size,
            None => declared,
        };
        let path = clean_path(&raw_path).map_err(refused)?;
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous => TarKind::File { size_bytes },
            EntryType::Directory => TarKind::Folder,
            kind @ (EntryType::Symlink | EntryType::Link) => {
                let raw = match extensions.link {
                    Some(link) => link,
                    None => header.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default(),
                };
                // A symbolic link starts at its own folder, a hard link at the archive's root.
                let base =
                    if kind == EntryType::Symlink { path.rsplit_once('/').map_or("", |(base, _)| base) } else { "" };
                TarKind::Link { target: resolve(base, &raw).map_err(refused)? }
            }
            _ => return Err(refused(message!("tar-type"))),
        };
        if path.is_empty() && kind != TarKind::Folder {
            return Err(refused(message!("tar-no-name")));
        }
        if let TarKind::File { size_bytes } = kind {
            self.unread = size_bytes;
            self.padding = padding(size_bytes);
        } else if size_bytes != 0 {
            return Err(refused(message!("tar-size-of-other")));
        }
        Ok(TarEntry { path, kind })
    }

    /// The next header block; `None` at the end mark, once the stream has been read to its own end: a checksum may
    /// stand there, and a sender wants to be heard out. One block of zeros with something behind it is no end: some
    /// programs stop there and others read on.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let mut block = [0u8; BLOCK as usize];
        let at_byte = self.position;
        self.read_block(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            if at_byte == 0 {
                return Err(TarError::NotTar);
            }
            self.drain()?;
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        match header.cksum() {
            Ok(stored) if stored == sum => Ok(Some(header)),
            _ if at_byte == 0 => Err(TarError::NotTar),
            _ => Err(TarError::Header { at_byte, why: message!("tar-checksum") }),
        }
    }

    fn extension(&mut self, size_bytes: u64) -> Result<Vec<u8>, TarError> {
        if size_bytes > EXTENSION_LIMIT_BYTES {
            return Err(TarError::Header { at_byte: self.position, why: message!("tar-extension-size") });
        }
        let mut bytes = vec![0; size_bytes as usize];
        self.read_block(&mut bytes)?;
        self.padding = padding(size_bytes);
        Ok(bytes)
    }

    fn finish_entry(&mut self) -> Result<(), TarError> {
        let rest = self.unread + self.padding;
        if rest > 0 {
            self.source.skip(rest).map_err(|error| self.broken(error))?;
            self.position += rest;
            (self.unread, self.padding) = (0, 0);
        }
        Ok(())
    }

    fn read_block(&mut self, block: &mut [u8]) -> Result<(), TarError> {
        self.source.read_exact(block).map_err(|error| self.broken(error))?;
        self.position += block.len() as u64;
        Ok(())
    }

    fn drain(&mut self) -> Result<(), TarError> {
        let mut buffer = [0; 8192];
        let end = self.position;
        loop {
            match self.source.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) if buffer[..read].iter().all(|byte| *byte == 0) => {
                    self.position += read as u64;
                    if self.position - end > END_LIMIT_BYTES {
                        return Err(TarError::Header { at_byte: end, why: message!("tar-long-end") });
                    }
                }
                Ok(_) => return Err(TarError::Header { at_byte: end, why: message!("tar-after-end") }),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    /// What a failed read of this stream means.
    pub fn broken(&self, error: io::Error) -> TarError {
        match error.kind() {
            // Our own readers and std end with this; decoders with it or with an error that says as much.
            io::ErrorKind::UnexpectedEof => TarError::CutOff { at_byte: self.position },
            _ => TarError::Read(error),
        }
    }
}

/// The current entry's content.
impl<S: TarSource> Read for TarReader<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.unread).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        match self.source.read(&mut buffer[..wanted])? {
            // Callers that read the content themselves use the same words.
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, TarError::CutOff { at_byte: self.position })),
            read => {
                self.unread -= read as u64;
                self.position += read as u64;
                Ok(read)
            }
        }
    }
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.path.is_none() && self.link.is_none() && self.size.is_none()
    }
}

/// Programs differ in which of two descriptions of an entry they take.
fn set<T: PartialEq>(place: &mut Option<T>, value: T) -> Result<(), Message> {
    match place {
        Some(before) if *before != value => Err(message!("tar-described-twice")),
        _ => {
            *place = Some(value);
            Ok(())
        }
    }
}

/// The size field: octal digits, or since GNU tar a number of eight bytes behind the mark 0x80. Signs, which some
/// readers take, and numbers beyond all files are refused.
fn declared_size(field: &[u8; 12]) -> Result<u64, Message> {
    const WRONG: Message = message!("tar-size");
    let size = match field {
        [0x80, 0, 0, 0, number @ ..] => u64::from_be_bytes(*number),
        _ => {
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
            let digits = field[..end].trim_ascii();
            if digits.is_empty() || !digits.iter().all(|digit| matches!(digit, b'0'..=b'7')) {
                return Err(WRONG);
            }
            digits.iter().fold(0, |number, digit| number * 8 + u64::from(digit - b'0'))
        }
    };
    if size <= SIZE_LIMIT_BYTES { Ok(size) } else { Err(message!("tar-size-huge")) }
}

/// PAX records: `<length> <key>=<value>\n`, the length counting all of it (POSIX, "pax Extended Header").
fn read_pax(mut records: &[u8], extensions: &mut Extensions) -> Result<(), Message> {
    const WRONG: Message = message!("tar-pax");
    while !records.is_empty() {
        let space = records.iter().position(|byte| *byte == b' ').ok_or(WRONG)?;
        let length: usize =
            std::str::from_utf8(&records[..space]).ok().and_then(|text| text.parse().ok()).ok_or(WRONG)?;
        let record = records.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or(WRONG)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(WRONG)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        match key {
            b"path" => set(&mut extensions.path, value.to_vec())?,
            b"linkpath" => set(&mut extensions.link, value.to_vec())?,
            b"size" => {
                let digits = std::str::from_utf8(value).ok().filter(|text| !text.starts_with('+')).ok_or(WRONG)?;
                let size = digits.parse().ok().filter(|size| *size <= SIZE_LIMIT_BYTES).ok_or(WRONG)?;
                set(&mut extensions.size, size)?;
            }
            _ if key.starts_with(b"GNU.sparse") => return Err(message!("tar-sparse")),
            _ => {}
        }
        records = &records[length..];
    }
    Ok(())
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn checked_text(raw: &[u8]) -> Result<&str, Message> {
    if raw.len() > PATH_LIMIT_BYTES {
        return Err(message!("tar-long-name"));
    }
    let text = std::str::from_utf8(raw).map_err(|_| message!("tar-name-utf8"))?;
    if text.chars().any(char::is_control) {
        return Err(message!("tar-name-control"));
    }
    if text.starts_with('/') {
        return Err(message!("tar-name-absolute"));
    }
    Ok(text)
}

fn clean_path(raw: &[u8]) -> Result<String, Message> {
    let parts: Vec<&str> = checked_text(raw)?.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(message!("tar-name-out"));
    }
    Ok(parts.join("/"))
}

/// Where a link in the folder `base` leads.
fn resolve(base: &str, raw: &[u8]) -> Result<String, Message> {
    const OUT: Message = message!("tar-link-out");
    let target = checked_text(raw).map_err(|_| OUT)?;
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop().ok_or(OUT)?),
            part => parts.push(part),
        }
    }
    if parts.is_empty() { Err(OUT) } else { Ok(parts.join("/")) }
}

/// How many zero bytes follow a file of this size.
pub fn padding(size_bytes: u64) -> u64 {
    (BLOCK - size_bytes % BLOCK) % BLOCK
}

/// The header of a file in an archive that we write; `path` has at most 100 bytes, as all of ours do.
pub fn file_header(path: &str, size_bytes: u64) -> [u8; BLOCK as usize] {
    let mut header = Header::new_gnu();
    header.set_path(path).expect("our own paths are short and relative");
    header.set_size(size_bytes);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    *header.as_bytes()
}

/// The two zero blocks that end an archive.
pub const END_MARK: [u8; 2 * BLOCK as usize] = [0; 2 * BLOCK as usize];

#[cfg(test)]
mod tests;
