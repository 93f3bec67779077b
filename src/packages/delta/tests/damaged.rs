//! Flipped bits, cuts, other bases: all found, and nothing is called rebuilt.

use super::made::{file, noise, tar};
use super::{applied, delta};
use crate::fs::Digest;
use crate::packages::delta::DeltaError;

/// A delta with all that one can have: header, several operations, a prefix, new data.
struct Sample {
    olds: [Vec<u8>; 2],
    new: Vec<u8>,
    delta: Vec<u8>,
}

impl Sample {
    fn new() -> Self {
        let text =
            |from: u32| (from..from + 900).map(|line| format!("line {line} of it\n")).collect::<String>().into_bytes();
        let olds =
            [tar(&[file("a", 1, &text(1)), file("b", 1, &noise(2, 2_000))]), tar(&[file("c", 1, &noise(3, 600))])];
        let new = tar(&[
            file("a", 2, &text(9)),
            file("b2", 2, &noise(2, 2_000)),
            file("c", 2, &noise(3, 600)),
            file("n", 2, &noise(4, 300)),
        ]);
        let delta = delta(&new, &[&olds[0], &olds[1]]);
        Self { olds, new, delta }
    }

    fn apply(&self, delta: &[u8]) -> Result<(), DeltaError> {
        let (output, result) = applied(delta, &[&self.olds[0], &self.olds[1]], &Digest::of(&self.new), 1 << 20);
        result.map(|_| assert!(output == self.new))
    }
}

#[test]
fn two_thousand_flipped_bits_are_found() {
    let sample = Sample::new();
    sample.apply(&sample.delta).unwrap();
    let bits = sample.delta.len() * 8;
    let count = 2_000.min(bits);
    for number in 0..count {
        let bit = number * bits / count;
        let mut flipped = sample.delta.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(sample.apply(&flipped).is_err(), "bit {bit} of {bits}");
    }
}

#[test]
fn six_hundred_cuts_are_found() {
    let sample = Sample::new();
    let count = 600;
    for number in 0..count {
        let end = number * sample.delta.len() / count;
        let error = sample.apply(&sample.delta[..end]).unwrap_err();
        assert!(matches!(error, DeltaError::Damaged { .. } | DeltaError::NotADelta), "cut at {end}: {error}");
    }
    let more = [sample.delta.as_slice(), b"x"].concat();
    assert!(matches!(sample.apply(&more), Err(DeltaError::Damaged { .. })));
}

#[test]
fn a_base_that_is_not_what_its_digest_says_is_found_at_the_end() {
    let sample = Sample::new();
    let mut wrong = sample.olds[0].clone();
    wrong[5_000] ^= 1;
    let digests = [Digest::of(&sample.olds[0]), Digest::of(&sample.olds[1])];
    let layers = [(&digests[0], &wrong), (&digests[1], &sample.olds[1])];
    let layers = layers.map(|(diff_id, bytes)| crate::packages::delta::BaseLayer {
        diff_id,
        size: bytes.len() as u64,
        tar: bytes,
    });
    let wanted = Digest::of(&sample.new);
    let wanted = crate::packages::delta::Wanted { diff_id: &wanted, most_bytes: 1 << 20, threads: 2 };
    let result = crate::packages::delta::apply(sample.delta.as_slice(), &layers, &wanted, &mut Vec::new());
    assert!(matches!(result, Err(DeltaError::ResultDiffers { .. })), "{result:?}");
}

#[test]
fn a_delta_for_other_bases_or_another_layer_says_which() {
    let sample = Sample::new();
    let wanted = Digest::of(&sample.new);
    let (_, result) = applied(&sample.delta, &[&sample.olds[1]], &wanted, 1 << 20);
    assert!(matches!(result, Err(DeltaError::BaseMissing { diff_id }) if diff_id == Digest::of(&sample.olds[0])));
    let (_, result) = applied(&sample.delta, &[&sample.olds[0], &sample.olds[1]], &Digest::of(b""), 1 << 20);
    assert!(matches!(result, Err(DeltaError::AnotherResult { .. })));
    let (output, result) = applied(&sample.delta, &[&sample.olds[0], &sample.olds[1]], &wanted, 1 << 10);
    assert!(matches!(result, Err(DeltaError::TooLarge { .. })));
    assert!(output.is_empty());
}

#[test]
fn a_new_layer_that_is_not_what_its_digest_says_makes_no_delta() {
    let index = crate::packages::delta::BaseIndex::read(Vec::new()).unwrap();
    let options = crate::packages::delta::CreateOptions::default();
    let made = crate::packages::delta::create(b"new".as_slice(), &Digest::of(b"old"), &index, &options, Vec::new());
    assert!(matches!(made, Err(DeltaError::NewDiffers { .. })));
}

/// A disk that is full, a source that breaks off: an error, and nobody waits for ever.
#[test]
fn whatever_fails_ends_all_threads() {
    use std::io::{self, Read, Write};
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    struct Broken<'a>(&'a [u8]);
    impl Read for Broken<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() { Err(io::ErrorKind::ConnectionReset.into()) } else { self.0.read(buffer) }
        }
    }
    use super::made::Made;
    use crate::packages::delta::{BaseIndex, CreateOptions, Wanted, apply, create};
    let old = Made::of(&tar(&[file("a", 1, &noise(1, 18 << 20))]));
    let new = tar(&[file("a", 2, &noise(2, 18 << 20))]);
    let diff_id = Digest::of(&new);
    let index = BaseIndex::read(vec![old.layer()]).unwrap();
    let options = CreateOptions { level: 1, threads: 2 };
    for room in [0, 1 << 20, 9 << 20] {
        let made = create(new.as_slice(), &diff_id, &index, &options, Full(room));
        assert!(matches!(made, Err(DeltaError::Write(_))), "{room}");
    }
    let made = create(Broken(&new[..17 << 20]), &diff_id, &index, &options, io::sink());
    assert!(matches!(made, Err(DeltaError::New(_))));
    let mut body = Vec::new();
    let created = create(new.as_slice(), &diff_id, &index, &options, &mut body).unwrap();
    let delta = [created.header_bytes(), body].concat();
    let wanted = Wanted { diff_id: &diff_id, most_bytes: u64::MAX, threads: 2 };
    for room in [0, 1 << 20, 17 << 20] {
        let made = apply(delta.as_slice(), &[old.layer()], &wanted, Full(room));
        assert!(matches!(made, Err(DeltaError::Write(_))), "{room}");
    }
    let made = apply(Broken(&delta[..17 << 20]), &[old.layer()], &wanted, io::sink());
    assert!(matches!(made, Err(DeltaError::Read(_))));
}
