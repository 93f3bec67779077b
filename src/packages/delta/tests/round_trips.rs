//! What goes in comes out, and costs what it should.

use proptest::prelude::*;

use super::made::{entry, file, noise, tar};
use super::{applied, delta, delta_by, holds};
use crate::fs::Digest;

const SOME: usize = 200_000;

#[test]
fn an_equal_layer_costs_nothing() {
    let old = tar(&[file("a", 1, &noise(1, SOME)), entry(b'5', "d/", "", 1, b""), file("d/b", 1, &noise(2, SOME))]);
    assert!(holds(&old, &[&old]) < 800);
}

#[test]
fn new_times_alone_cost_little() {
    let files = |time: u64| -> Vec<Vec<u8>> {
        let named =
            |number: u64| (format!("usr/lib/python3/site-packages/p{}/module_{number}.py", number / 20), number);
        let made = |(name, number): (String, u64)| file(&name, time + number / 7, &noise(number, 3_000));
        (0..1_000).map(named).map(made).collect()
    };
    let size = holds(&tar(&files(1_700_003_000)), &[&tar(&files(1_600_000_000))]);
    assert!(size < 40_000, "{size}");
}

#[test]
fn an_equal_body_is_copied_whatever_its_path_and_layer() {
    let [one, two] = [noise(1, SOME), noise(2, SOME)];
    let olds = [tar(&[file("a", 1, &one)]), tar(&[file("b/deep/name", 1, &two)])];
    let new = tar(&[file("moved", 2, &two), file("twice", 2, &two), file("renamed", 2, &one)]);
    assert!(holds(&new, &[&olds[0], &olds[1]]) < 2_000);
}

#[test]
fn a_changed_file_is_compressed_against_its_old_version() {
    let old_content = noise(1, SOME);
    let new_content = [&old_content[..70_000], b"inserted", &old_content[70_000..150_000]].concat();
    for (old_name, new_name) in [("lib/x.so", "lib/x.so"), ("lib/x-1.2.so", "lib/x-1.10.so"), ("a/x.so", "b/x.so")] {
        let old = tar(&[file("other", 1, &noise(3, SOME)), file(old_name, 1, &old_content)]);
        let new = tar(&[file(new_name, 2, &new_content)]);
        assert!(holds(&new, &[&old]) < 3_000, "{new_name}");
    }
}

#[test]
fn a_large_file_is_cut_and_each_piece_finds_what_it_is_like() {
    let old_content = noise(1, 30 << 20);
    // Moved about, so that the same place is the wrong one.
    let parts = [&old_content[20 << 20..], b"new", &old_content[..9 << 20], b"words", &old_content[9 << 20..20 << 20]];
    let new_content = parts.concat();
    let old = tar(&[file("lib/big.so", 1, &old_content)]);
    let new = tar(&[file("lib/big.so", 2, &new_content)]);
    let size = holds(&new, &[&old]);
    assert!(size < 1 << 20, "{size}");
}

#[test]
fn an_equal_large_file_is_copied_though_it_is_read_in_pieces() {
    let content = noise(1, 20 << 20);
    let old = tar(&[file("lib/big-1.so", 1, &content)]);
    let new = tar(&[file("lib/big-2.so", 2, &content)]);
    assert!(holds(&new, &[&old]) < 1_500);
}

#[test]
fn odd_entries_come_back_as_they_were() {
    let long = "d/".repeat(120) + "name";
    let content = noise(5, 5_000);
    let old = tar(&[file(&long[..90], 1, &content)]);
    let sparse = {
        let mut entry = entry(b'S', "sparse", "", 1, &content);
        // "There is another block of the map", which there is not.
        entry[482] = 1;
        entry
    };
    let odd: [Vec<Vec<u8>>; 9] = [
        vec![entry(b'L', "././@LongLink", "", 0, format!("{long}\0").as_bytes()), file("d", 1, &content)],
        vec![entry(b'x', "pax", "", 0, b"14 path=a/b/c\n13 mtime=1.5\n"), file("d", 1, &content)],
        vec![entry(b'x', "pax", "", 0, b"13 size=4999\n"), file("d", 1, &content)],
        vec![entry(b'x', "pax", "", 0, b"29 size=18446744073709551615\n"), file("d", 1, &content)],
        vec![entry(b'x', "pax", "", 0, &noise(6, 100_000)), file("d", 1, &content)],
        vec![
            entry(b'1', "hard", "d", 1, b""),
            entry(b'2', "soft", "d", 1, b""),
            entry(b'1', "with", "size", 1, &content),
        ],
        vec![entry(b'3', "dev/null", "", 1, b""), entry(b'6', "fifo", "", 1, b""), file("empty", 1, b"")],
        vec![sparse, file("d", 1, &content)],
        vec![file("d", 1, &content), vec![b'?'; 700], file("e", 1, &content)],
    ];
    for entries in odd {
        let new = tar(&entries);
        holds(&new, &[&old]);
        holds(&new, &[&new]);
        holds(&old, &[&new]);
        // Cut off anywhere, and with something behind its end.
        for end in [0, 1, 511, 512, 600, 1_500, new.len() - 1] {
            holds(&new[..end], &[&old, &new[..end / 2]]);
        }
        holds(&[new.as_slice(), b"behind the end"].concat(), &[&old]);
    }
}

#[test]
fn what_is_not_a_tar_at_all_is_carried() {
    let old = noise(1, SOME);
    let new = [&old[..90_000], b"changed", &old[90_000..]].concat();
    assert!(holds(&new, &[&old]) < 3_000);
    holds(&new, &[]);
    holds(b"", &[]);
    holds(b"", &[b"", &old]);
    holds(&[0; 100_000], &[&old]);
}

/// Old content may begin as a zstd dictionary does, and is none.
#[test]
fn a_prefix_that_looks_like_a_dictionary_is_plain_bytes() {
    let old_content = [&[0x37, 0xa4, 0x30, 0xec][..], &noise(1, SOME)].concat();
    let new_content = [&old_content[..1000], b"changed", &old_content[1000..]].concat();
    assert!(holds(&tar(&[file("d", 1, &new_content)]), &[&tar(&[file("d", 1, &old_content)])]) < 3_000);
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let old: Vec<Vec<u8>> = (0..12).map(|number| file(&format!("f{number}"), 1, &noise(number, 1 << 20))).collect();
    let changed = |number: u64| [&noise(number, 1 << 20)[..900_000], b"changed", &noise(number, 99_000)].concat();
    let new: Vec<Vec<u8>> = (0..12).map(|number| file(&format!("f{number}"), 2, &changed(number))).collect();
    let (old, new) = (tar(&old), tar(&new));
    let one = delta_by(&new, &[&old], 1);
    for threads in [2, 3, 16] {
        assert!(delta_by(&new, &[&old], threads) == one, "{threads} threads");
    }
    assert!(one.len() < 2 << 20, "{}", one.len());
}

#[test]
fn only_bases_that_are_read_are_named() {
    let content = noise(1, SOME);
    let [unused, used] = [tar(&[file("x", 1, b"1")]), tar(&[file("a", 1, &content)])];
    let new = tar(&[file("b", 2, &content)]);
    let made = delta(&new, &[&unused, &used]);
    let (output, result) = applied(&made, &[&used], &Digest::of(&new), u64::MAX);
    result.unwrap();
    assert!(output == new);
}

/// A tree of files, most of them in both releases.
#[derive(Debug, Clone)]
struct Tree(Vec<(u8, u8, u16, u8)>);

impl Tree {
    /// Name, content and kind of each entry follow from small numbers, so that both trees share some of them.
    fn tar(&self, time: u64) -> Vec<u8> {
        let entries = self.0.iter().map(|(name, seed, size, kind)| {
            let name = format!("p{}/lib{name}-1.{seed}.so", name % 3);
            let mut content = noise(u64::from(seed % 8), usize::from(*size));
            if seed % 3 == 0 && !content.is_empty() {
                let place = content.len() / 2;
                content[place] ^= *seed;
            }
            match kind {
                0 => entry(b'5', &name, "", time, b""),
                1 => entry(b'1', &name, "elsewhere", time, b""),
                2 => [entry(b'x', "pax", "", time, b"14 path=x/y/z\n"), file(&name, time, &content)].concat(),
                3 => content,
                _ => file(&name, time, &content),
            }
        });
        tar(&entries.collect::<Vec<_>>())
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let entry = (0..12u8, any::<u8>(), prop_oneof![0..40u16, 400..600u16, any::<u16>()], 0..12u8);
    prop::collection::vec(entry, 0..25).prop_map(Tree)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn any_tar_comes_back_from_any_bases(old in tree(), other in tree(), new in tree(), times in (0..2u64, 0..2u64), cut in 0..4usize) {
        let [old, other, new] = [old.tar(times.0), other.tar(0), new.tar(times.1)];
        let new = &new[..new.len() - cut * new.len() / 9];
        holds(new, &[&old, &other]);
        holds(new, &[]);
    }
}
