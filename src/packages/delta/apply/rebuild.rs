//! Carrying out the operations.

use std::io::Write;

use super::Numbered;
use super::read::damaged_operation;
use super::sink::Sink;
use crate::packages::delta::error::DeltaError;
use crate::packages::delta::format::Operation;

pub(super) struct Rebuilder<W: Write> {
    sink: Sink<W>,
    /// Whether the last operation was carried out.
    is_ended: bool,
}

impl<W: Write> Rebuilder<W> {
    pub fn new(sink: Sink<W>) -> Self {
        Self { sink, is_ended: false }
    }

    pub fn group(&mut self, mut control: &[u8], mut segment: &[u8], bases: &Numbered<'_>) -> Result<(), DeltaError> {
        while !control.is_empty() {
            if self.is_ended {
                return Err(damaged_operation());
            }
            match Operation::read(&mut control).ok_or_else(damaged_operation)? {
                Operation::Literal { size } => self.sink.write(split(&mut control, size)?)?,
                Operation::Data { size } => self.sink.write(split(&mut segment, size)?)?,
                Operation::Copy(range) => {
                    bases.check(&range)?;
                    self.sink.copy(&range, bases)?;
                }
                Operation::End => self.is_ended = true,
                Operation::Prefix(_) => return Err(damaged_operation()),
            }
        }
        // What is in a segment is needed.
        if segment.is_empty() { Ok(()) } else { Err(damaged_operation()) }
    }

    pub fn finish(self) -> Result<(), DeltaError> {
        if !self.is_ended {
            return Err(DeltaError::damaged(message!("delta-damage-end")));
        }
        self.sink.finish()
    }
}

/// Takes so many bytes, at least one, from the beginning.
fn split<'b>(bytes: &mut &'b [u8], size: u64) -> Result<&'b [u8], DeltaError> {
    let size = usize::try_from(size).ok().filter(|size| *size > 0).ok_or_else(damaged_operation)?;
    let (taken, rest) = bytes.split_at_checked(size).ok_or_else(damaged_operation)?;
    *bytes = rest;
    Ok(taken)
}
