//! Frames: a letter for the kind, four bytes of length (little endian), and the payload.

use std::io;

use crate::catalogue::one_line;
use crate::report::{Message, Told};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest payload that is taken: a longer one is an error before anything of it is read.
pub const LARGEST_PAYLOAD: usize = 256 << 10;

const HEAD: usize = 5;
/// The bytes of a piece before those of its file.
pub const PIECE_HEAD: usize = 4;

/// One thing that is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A document in JSON.
    Control(Bytes),
    /// Of a command's standard output, or of its terminal.
    Output(Bytes),
    /// Of a command's standard error.
    Error(Bytes),
    /// For a command's standard input, or its terminal; of a file.
    Data(Bytes),
    /// Of one of several files: its number in four bytes (little endian), and what comes of it ([`Frame::piece`]).
    Piece(Bytes),
    /// Nothing more comes of it.
    DataEnd,
    /// The other side is still there.
    Alive,
}

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    Ended,
    Kind(u8),
    TooLong(u32),
    Io(#[from] io::Error),
}

impl Told for FrameError {
    fn message(&self) -> Message {
        match self {
            Self::Ended => message!("frame-ended"),
            Self::Kind(byte) => message!("frame-kind", byte = format!("{byte:#04x}")),
            Self::TooLong(bytes) => message!("frame-too-long", bytes = bytes),
            Self::Io(error) => message!("frame-io", why = one_line(error, |_| None)),
        }
    }
}

impl Frame {
    fn kind(&self) -> u8 {
        match self {
            Self::Control(_) => b'j',
            Self::Output(_) => b'o',
            Self::Error(_) => b'e',
            Self::Data(_) => b'd',
            Self::Piece(_) => b'p',
            Self::DataEnd => b'z',
            Self::Alive => b'a',
        }
    }

    fn payload(&self) -> &[u8] {
        match self {
            Self::Control(bytes)
            | Self::Output(bytes)
            | Self::Error(bytes)
            | Self::Data(bytes)
            | Self::Piece(bytes) => bytes,
            Self::DataEnd | Self::Alive => &[],
        }
    }

    fn of(kind: u8, payload: Bytes) -> Option<Self> {
        Some(match kind {
            b'j' => Self::Control(payload),
            b'o' => Self::Output(payload),
            b'e' => Self::Error(payload),
            b'd' => Self::Data(payload),
            b'p' => Self::Piece(payload),
            b'z' => Self::DataEnd,
            b'a' => Self::Alive,
            _ => return None,
        })
    }

    /// How many bytes it takes.
    pub fn length(&self) -> u64 {
        (HEAD + self.payload().len()) as u64
    }

    /// Its bytes. A payload that is too long for a frame is cut by nobody: callers keep to [`LARGEST_PAYLOAD`].
    pub fn encode(&self) -> Vec<u8> {
        let payload = self.payload();
        debug_assert!(payload.len() <= LARGEST_PAYLOAD);
        let mut bytes = Vec::with_capacity(HEAD + payload.len());
        bytes.push(self.kind());
        bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    /// What comes of a file: `bytes` begins with four that are the file's number in the end.
    pub fn piece(file: u32, mut bytes: BytesMut) -> Self {
        bytes[..PIECE_HEAD].copy_from_slice(&file.to_le_bytes());
        Self::Piece(bytes.freeze())
    }

    /// The number of a piece's file, and what comes of it.
    pub fn split_piece(mut payload: Bytes) -> Option<(u32, Bytes)> {
        let head: [u8; PIECE_HEAD] = payload.get(..PIECE_HEAD)?.try_into().ok()?;
        let _ = payload.split_to(PIECE_HEAD);
        Some((u32::from_le_bytes(head), payload))
    }

    /// A document as a frame.
    pub fn control<T: serde::Serialize>(document: &T) -> Self {
        // Our own documents have text for keys, which is all that could fail.
        Self::Control(serde_json::to_vec(document).unwrap_or_default().into())
    }
}

/// Reads frames one after the other. Cancel safe: what was read so far is kept.
pub struct FrameReader<R> {
    inner: R,
    read: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, read: BytesMut::with_capacity(64 << 10) }
    }

    /// The next frame.
    ///
    /// # Errors
    /// [`FrameError::Ended`] where the stream ends between two frames or inside one.
    pub async fn next(&mut self) -> Result<Frame, FrameError> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(frame);
            }
            if self.inner.read_buf(&mut self.read).await? == 0 {
                return Err(FrameError::Ended);
            }
        }
    }

    /// Skips everything up to and with `mark`; gives what stood before it where the stream ends first, or where so much came
    /// that no mark will.
    ///
    /// # Errors
    /// What was read instead.
    pub async fn skip_to(&mut self, mark: &[u8], most: usize) -> Result<(), Vec<u8>> {
        loop {
            if let Some(place) = self.read.windows(mark.len()).position(|window| window == mark) {
                let _ = self.read.split_to(place + mark.len());
                return Ok(());
            }
            if self.read.len() > most || !matches!(self.inner.read_buf(&mut self.read).await, Ok(length) if length > 0)
            {
                return Err(self.read.to_vec());
            }
        }
    }

    fn take(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(head) = self.read.get(..HEAD) else { return Ok(None) };
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
        if length as usize > LARGEST_PAYLOAD {
            return Err(FrameError::TooLong(length));
        }
        let kind = head[0];
        let whole = HEAD + length as usize;
        if self.read.len() < whole {
            self.read.reserve(whole - self.read.len());
            return match Frame::of(kind, Bytes::new()) {
                Some(_) => Ok(None),
                None => Err(FrameError::Kind(kind)),
            };
        }
        let payload = self.read.split_to(whole).freeze().slice(HEAD..);
        Frame::of(kind, payload).map(Some).ok_or(FrameError::Kind(kind))
    }
}

/// Writes frames.
pub struct FrameWriter<W> {
    inner: W,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub fn new(inner: W) -> Self {
        Self { inner }
    }

    pub async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.inner.write_all(&frame.encode()).await?;
        self.inner.flush().await
    }

    /// The stream itself, for what stands before the first frame.
    pub fn stream(&mut self) -> &mut W {
        &mut self.inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(bytes: &[u8]) -> (Vec<Frame>, FrameError) {
        let mut reader = FrameReader::new(bytes);
        let mut frames = Vec::new();
        loop {
            match reader.next().await {
                Ok(frame) => frames.push(frame),
                Err(error) => return (frames, error),
            }
        }
    }

    #[tokio::test]
    async fn what_is_written_is_read_again() {
        let frames = [
            Frame::Control(Bytes::from_static(b"{}")),
            Frame::Output(Bytes::from(vec![7; LARGEST_PAYLOAD])),
            Frame::piece(7, BytesMut::from(&b"....content"[..])),
            Frame::DataEnd,
            Frame::Alive,
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        let (read, end) = read_all(&bytes).await;
        assert_eq!(read, frames);
        assert!(matches!(end, FrameError::Ended));
        let Frame::Piece(payload) = read[2].clone() else { panic!("{read:?}") };
        assert_eq!(Frame::split_piece(payload), Some((7, Bytes::from_static(b"content"))));
        assert_eq!(Frame::split_piece(Bytes::from_static(b"abc")), None);
    }

    #[tokio::test]
    async fn a_length_that_is_too_large_is_refused_before_its_bytes_come() {
        let (_, error) = read_all(&[b'o', 0xff, 0xff, 0xff, 0xff]).await;
        assert!(matches!(error, FrameError::TooLong(u32::MAX)));
        let (_, error) = read_all(b"GET / HTTP/1.1").await;
        assert!(matches!(error, FrameError::TooLong(_) | FrameError::Kind(b'G')));
    }

    /// A good conversation with bytes changed, taken out and put in, from a fixed seed.
    #[tokio::test]
    async fn a_conversation_with_changed_bytes_is_read_to_an_end() {
        let frames = [
            Frame::Control(Bytes::from_static(br#"{"reply": "began", "id": "0123"}"#)),
            Frame::Output(Bytes::from(vec![b'x'; 700])),
            Frame::Error(Bytes::from_static("磁盘已满\n".as_bytes())),
            Frame::Data(Bytes::new()),
            Frame::DataEnd,
            Frame::Alive,
        ];
        let good: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).unwrap()
        };
        let mut whole = 0;
        for _ in 0..2000 {
            let mut bytes = good.clone();
            for _ in 0..=random(4) {
                let (place, byte) = (random(bytes.len()), u8::try_from(random(256)).unwrap());
                match random(3) {
                    0 => bytes[place] = byte,
                    1 => drop(bytes.remove(place)),
                    _ => bytes.insert(place, byte),
                }
            }
            let (read, error) = read_all(&bytes).await;
            assert!(read.iter().map(Frame::length).sum::<u64>() <= bytes.len() as u64);
            assert!(read.iter().all(|frame| frame.payload().len() <= LARGEST_PAYLOAD));
            // The control: some of the changes hit nothing but a payload.
            whole += usize::from(read.len() == frames.len() && matches!(error, FrameError::Ended));
            let mut reader = FrameReader::new(bytes.as_slice());
            let _ = reader.skip_to(super::super::MARK, 1 << 10).await;
        }
        assert!((1..2000).contains(&whole), "{whole}");
    }

    #[tokio::test]
    async fn what_a_login_script_prints_is_skipped() {
        let mut bytes = b"Welcome to prod!\n\0".to_vec();
        bytes.extend_from_slice(super::super::MARK);
        bytes.extend_from_slice(&Frame::Alive.encode());
        let mut reader = FrameReader::new(bytes.as_slice());
        reader.skip_to(super::super::MARK, 1 << 16).await.unwrap();
        assert_eq!(reader.next().await.unwrap(), Frame::Alive);
        let mut reader = FrameReader::new(&b"sh: dpl: not found\n"[..]);
        assert_eq!(reader.skip_to(super::super::MARK, 1 << 16).await.unwrap_err(), b"sh: dpl: not found\n");
    }
}
