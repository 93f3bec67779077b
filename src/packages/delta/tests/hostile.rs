//! Deltas that dpl never wrote: each is refused for its own reason, and what was written stays below the size that it declares.

use std::time::{Duration, Instant};

use super::super::format::{GroupHeader, Operation, Range};
use super::applied;
use super::made::noise;
use crate::fs::Digest;
use crate::packages::delta::fuzz::Forged;
use crate::packages::delta::{DeltaError, Header};

fn literal(bytes: &[u8]) -> Vec<u8> {
    let mut control = Vec::new();
    Operation::Literal { size: bytes.len() as u64 }.write(&mut control);
    [control.as_slice(), bytes].concat()
}

fn operations(all: &[Operation]) -> Vec<u8> {
    let mut control = Vec::new();
    all.iter().for_each(|operation| operation.write(&mut control));
    control
}

fn copy(base: u32, offset: u64, size: u64) -> Operation {
    Operation::Copy(Range { base, offset, size })
}

fn prefix(base: u32, offset: u64, size: u64) -> Operation {
    Operation::Prefix(Range { base, offset, size })
}

const END: Operation = Operation::End;
const SIZE: u64 = 1 << 20;

/// What `apply` says of a forged delta that declares `SIZE` bytes.
#[track_caller]
fn refused(forged: &Forged) -> String {
    let base = noise(1, 10_000);
    let delta = forged.delta(&Digest::of(b"wanted"), SIZE, &[&base]);
    let begun = Instant::now();
    let (output, result) = applied(&delta, &[&base], &Digest::of(b"wanted"), SIZE);
    assert!(output.len() as u64 <= SIZE);
    assert!(begun.elapsed() < Duration::from_secs(20));
    result.unwrap_err().to_string()
}

#[test]
fn a_forged_delta_that_is_in_order_rebuilds() {
    let base = noise(1, 10_000);
    let new = [b"head", &base[100..200], b"news"].concat();
    let control = [literal(b"head"), operations(&[copy(0, 100, 100), Operation::Data { size: 4 }, END])].concat();
    let delta = Forged::group(&control, b"news", b"").delta(&Digest::of(&new), new.len() as u64, &[&base]);
    let (output, result) = applied(&delta, &[&base], &Digest::of(&new), SIZE);
    result.unwrap();
    assert_eq!(output, new);
}

#[test]
fn ranges_outside_the_base_are_refused() {
    for (base, offset, size) in [
        (0, 10_000, 1),
        (0, 9_999, 2),
        (0, 0, 10_001),
        (0, u64::MAX, 2),
        (0, 2, u64::MAX),
        (0, u64::MAX, u64::MAX),
        (0, 5, 0),
        (1, 0, 1),
        (u32::MAX, 0, 1),
    ] {
        let control = operations(&[copy(base, offset, size), END]);
        assert!(refused(&Forged::group(&control, b"", b"")).contains("outside"), "{base} {offset} {size}");
        let control = operations(&[prefix(base, offset, size), Operation::Data { size: 3 }, END]);
        assert!(refused(&Forged::group(&control, b"new", b"")).contains("outside"), "{base} {offset} {size}");
    }
}

#[test]
fn more_bytes_than_declared_are_refused() {
    let copies: Vec<Operation> = std::iter::repeat_n(copy(0, 0, 10_000), 200).chain([END]).collect();
    assert!(refused(&Forged::group(&operations(&copies), b"", b"")).contains("more bytes"));
    let zeros = vec![0; 2 << 20];
    assert!(refused(&Forged::group(&[literal(&zeros), operations(&[END])].concat(), b"", b"")).contains("more bytes"));
    let data = operations(&[Operation::Data { size: 2 << 20 }, END]);
    assert!(refused(&Forged::group(&data, &zeros, b"")).contains("more bytes"));
}

#[test]
fn operations_that_do_not_fit_are_refused() {
    let all = [
        operations(&[Operation::Literal { size: 5 }]),
        operations(&[Operation::Literal { size: u64::MAX }, END]),
        operations(&[Operation::Literal { size: 0 }, END]),
        operations(&[Operation::Data { size: 1 }, END]),
        operations(&[Operation::Data { size: 0 }, END]),
        operations(&[prefix(0, 0, 1), END]),
        operations(&[copy(0, 0, 1), prefix(0, 0, 1), END]),
        operations(&[END, END]),
        operations(&[END, copy(0, 0, 1)]),
        vec![9],
        vec![2, 0x80],
        vec![2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    ];
    for control in all {
        assert!(refused(&Forged::group(&control, b"", b"")).contains("operation"), "{control:?}");
    }
    let unused = operations(&[Operation::Data { size: 2 }, END]);
    assert!(refused(&Forged::group(&unused, b"new", b"")).contains("operation"));
    let after_the_end = Forged::groups(&[(&operations(&[END]), b"", b""), (&operations(&[copy(0, 0, 1)]), b"", b"")]);
    assert!(refused(&after_the_end).contains("operation"));
}

#[test]
fn an_end_that_is_missing_or_early_is_found() {
    for all in [vec![copy(0, 0, 5), END], vec![copy(0, 0, 5)]] {
        assert!(refused(&Forged::group(&operations(&all), b"", b"")).contains("before the layer"), "{all:?}");
    }
    assert!(refused(&Forged::default()).contains("before the layer"));
}

#[test]
fn frames_that_give_more_or_less_than_declared_are_refused() {
    let control = operations(&[Operation::Data { size: 3 }, END]);
    for declared in [2, 4, 16 << 20] {
        let mut forged = Forged::group(&control, b"new", b"");
        forged.sizes[0].segment = declared;
        assert!(refused(&forged).contains("new data"), "{declared}");
    }
    for declared in [control.len() - 1, control.len() + 1] {
        let mut forged = Forged::group(&control, b"new", b"");
        forged.sizes[0].control = declared;
        assert!(refused(&forged).contains("operations can't"), "{declared}");
    }
    // 16 MiB of zeros in some kB, declared as what they are not.
    let mut bomb = Forged::group(&control, &vec![0; 16 << 20], b"");
    bomb.sizes[0].segment = 3;
    assert!(refused(&bomb).contains("new data"));
    let mut bomb = Forged::group(&literal(&vec![0; 8_000_000]), b"", b"");
    bomb.sizes[0].control = 3;
    assert!(refused(&bomb).contains("operations can't"));
    // Another prefix than the frame was made with.
    let wrong = [operations(&[prefix(0, 1, 9_000)]), control].concat();
    let base = noise(1, 10_000);
    assert!(!refused(&Forged::group(&wrong, &base[..9_000], &base[..9_000])).is_empty());
}

#[test]
fn sizes_above_the_limits_are_refused_before_anything_is_read() {
    let control = operations(&[END]);
    for change in [
        |sizes: &mut GroupHeader| sizes.control = u32::MAX as usize,
        |sizes: &mut GroupHeader| sizes.control_packed = u32::MAX as usize,
        |sizes: &mut GroupHeader| sizes.segment = u32::MAX as usize,
        |sizes: &mut GroupHeader| sizes.segment_packed = u32::MAX as usize,
    ] {
        let mut forged = Forged::group(&control, b"new", b"");
        change(&mut forged.sizes[0]);
        assert!(refused(&forged).contains("limits"));
    }
}

#[test]
fn a_window_above_the_limit_is_refused() {
    // A frame of operations whose header asks for a window of 2 GiB.
    let mut forged = Forged::group(&operations(&[END]), b"", b"");
    forged.control = Some(vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x09, 0x00, 0x00, 0x00]);
    forged.sizes[0].control_packed = 10;
    assert!(refused(&forged).contains("operations can't"));
}

/// Each group is a few bytes and asks for as much of the base as a prefix may have.
#[test]
fn prefixes_that_only_take_time_are_refused() {
    let base = noise(1, 24 << 20);
    let control = operations(&[prefix(0, 0, 24 << 20), Operation::Data { size: 1 }]);
    let groups: Vec<(&[u8], &[u8], &[u8])> = vec![(control.as_slice(), b"x", b""); 50];
    let delta = Forged::groups(&groups).delta(&Digest::of(b"wanted"), SIZE, &[&base]);
    let (_, result) = applied(&delta, &[&base], &Digest::of(b"wanted"), SIZE);
    assert!(result.unwrap_err().to_string().contains("limits"));
    let over = operations(&[prefix(0, 0, 24 << 20), prefix(0, 0, 1), Operation::Data { size: 1 }]);
    let delta = Forged::group(&over, b"x", b"").delta(&Digest::of(b"wanted"), SIZE, &[&base]);
    let (_, result) = applied(&delta, &[&base], &Digest::of(b"wanted"), SIZE);
    assert!(result.unwrap_err().to_string().contains("limits"));
}

#[test]
fn headers_that_dpl_does_not_write_are_refused() {
    let base = noise(1, 100);
    let good = Forged::group(&operations(&[copy(0, 0, 100), END]), b"", b"").delta(&Digest::of(&base), 100, &[&base]);
    applied(&good, &[&base], &Digest::of(&base), SIZE).1.unwrap();
    let changed = |from: &str, to: &str| {
        let end = good.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).unwrap().0 + 1;
        let text = std::str::from_utf8(&good[..end]).unwrap();
        assert!(text.contains(from), "{text}");
        [text.replacen(from, to, 1).as_bytes(), &good[end..]].concat()
    };
    let said = |delta: &[u8]| applied(delta, &[&base], &Digest::of(&base), SIZE).1.unwrap_err();
    for (from, to) in [
        ("{", "{ "),
        ("\"number\":0", "\"number\":-1"),
        ("\"number\":0", "\"number\":0,\"more\":1"),
        ("sha256:", "sha512:"),
        ("\"size\":100", "\"size\":1e2"),
        ("\"bases\":[", "\"bases\":[["),
    ] {
        assert!(matches!(said(&changed(from, to)), DeltaError::Damaged { .. }), "{from} {to}");
    }
    assert!(matches!(said(&changed("delta 1", "delta 2")), DeltaError::Version { version: 2 }));
    assert!(matches!(said(&changed("dpl-delta", "dpl-image")), DeltaError::NotADelta));
    assert!(matches!(said(b""), DeltaError::NotADelta));
    let endless = [b"dpl-delta 1\n".as_slice(), &vec![b' '; 2 << 20]].concat();
    assert!(matches!(said(&endless), DeltaError::Damaged { .. }));
    let twice = Header::read(&mut good.as_slice()).map(|mut header| {
        header.bases.push(header.bases[0].clone());
        header.to_bytes()
    });
    assert!(matches!(said(&twice.unwrap()), DeltaError::Damaged { .. }));
}
