//! Writing groups in their order. Operations and literal bytes of all of them are one zstd frame, flushed at the end of each
//! group, so that a thousand headers that differ in their times are compressed together.

use std::collections::BTreeSet;
use std::io::Write;

use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer};

use super::work::Packed;
use crate::fs::HashingWriter;
use crate::packages::delta::error::DeltaError;
use crate::packages::delta::format::{Body, CONTROL_WINDOW_LOG, GroupHeader};

pub(super) struct Emitter<W> {
    body: HashingWriter<W>,
    control: CCtx<'static>,
    /// The group that is written when another follows, or as the last one.
    held: Option<Packed>,
    used: BTreeSet<u32>,
}

impl<W: Write> Emitter<W> {
    pub fn new(body: W, level: i32) -> Result<Self, DeltaError> {
        let mut control = CCtx::create();
        for parameter in [CParameter::CompressionLevel(level), CParameter::WindowLog(CONTROL_WINDOW_LOG)] {
            control.set_parameter(parameter).map_err(DeltaError::compressor)?;
        }
        Ok(Self { body: HashingWriter::new(body), control, held: None, used: BTreeSet::new() })
    }

    pub fn group(&mut self, packed: Packed) -> Result<(), DeltaError> {
        if let Some(held) = self.held.replace(packed) {
            self.write(held, ZSTD_EndDirective::ZSTD_e_flush)?;
        }
        Ok(())
    }

    /// The body as the header says it, and the bases whose bytes are prefixes.
    pub fn finish(mut self) -> Result<(Body, BTreeSet<u32>), DeltaError> {
        if let Some(held) = self.held.take() {
            self.write(held, ZSTD_EndDirective::ZSTD_e_end)?;
        }
        self.body.flush().map_err(DeltaError::Write)?;
        let (_, digest, size) = self.body.finish();
        Ok((Body { digest, size }, self.used))
    }

    fn write(&mut self, group: Packed, end: ZSTD_EndDirective) -> Result<(), DeltaError> {
        let control = self.compress(&group.control, end)?;
        let header = GroupHeader {
            control_packed: control.len(),
            control: group.control.len(),
            segment_packed: group.packed.len(),
            segment: group.segment_bytes,
        };
        self.used.extend(group.prefix.iter().map(|range| range.base));
        for part in [&header.to_bytes(), control.as_slice(), &group.packed] {
            self.body.write_all(part).map_err(DeltaError::Write)?;
        }
        Ok(())
    }

    fn compress(&mut self, control: &[u8], end: ZSTD_EndDirective) -> Result<Vec<u8>, DeltaError> {
        let mut packed = Vec::new();
        let mut input = InBuffer::around(control);
        let mut buffer = vec![0; 128 << 10];
        loop {
            let mut output = OutBuffer::around(buffer.as_mut_slice());
            let left = self.control.compress_stream2(&mut output, &mut input, end).map_err(DeltaError::compressor)?;
            packed.extend_from_slice(output.as_slice());
            if left == 0 && input.pos() == control.len() {
                return Ok(packed);
            }
        }
    }
}
