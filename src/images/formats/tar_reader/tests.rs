use super::*;

/// One header and its content, as a hostile hand would write it.
fn entry(kind: u8, path: &[u8], link: &[u8], size: u64, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    let bytes = header.as_mut_bytes();
    bytes[..path.len()].copy_from_slice(path);
    bytes[157..157 + link.len()].copy_from_slice(link);
    header.set_entry_type(EntryType::new(kind));
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    let mut block = header.as_bytes().to_vec();
    block.extend(content);
    block.resize(block.len().next_multiple_of(BLOCK as usize), 0);
    block
}

fn file(path: &str, content: &[u8]) -> Vec<u8> {
    entry(b'0', path.as_bytes(), b"", content.len() as u64, content)
}

fn pax(records: &[u8]) -> Vec<u8> {
    entry(b'x', b"pax", b"", records.len() as u64, records)
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), END_MARK.to_vec()].concat()
}

fn walk(bytes: &[u8]) -> Result<Vec<(TarEntry, Vec<u8>)>, TarError> {
    let mut reader = TarReader::new(Streamed(bytes));
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map_err(TarError::Read)?;
        entries.push((entry, content));
    }
    Ok(entries)
}

fn refusal(entries: &[Vec<u8>]) -> String {
    match walk(&archive(entries)) {
        Err(error) => error.to_string(),
        Ok(entries) => panic!("read as {entries:?}"),
    }
}

#[test]
fn files_and_links_come_as_data() {
    let bytes = archive(&[
        entry(b'5', b"abc/", b"", 0, b""),
        file("./abc/layer.tar", b"content"),
        entry(b'2', b"def/layer.tar", b"../abc/layer.tar", 0, b""),
        entry(b'1', b"ghi", b"abc/layer.tar", 0, b""),
    ]);
    let entries = walk(&bytes).unwrap();
    let target = "abc/layer.tar".to_owned();
    assert_eq!(entries[0].0.kind, TarKind::Folder);
    assert_eq!((entries[1].0.path.as_str(), entries[1].1.as_slice()), ("abc/layer.tar", b"content".as_slice()));
    assert_eq!(entries[2].0, TarEntry { path: "def/layer.tar".into(), kind: TarKind::Link { target: target.clone() } });
    assert_eq!(entries[3].0.kind, TarKind::Link { target });
}

#[test]
fn long_names_and_pax_names_replace_the_short_one() {
    let long = "d/".repeat(100) + "layer.tar";
    let gnu =
        [entry(b'L', b"././@LongLink", b"", long.len() as u64 + 1, format!("{long}\0").as_bytes()), file("d", b"1")];
    assert_eq!(walk(&archive(&gnu)).unwrap()[0].0.path, long);
    let pax = [pax(b"14 path=a/b/c\n13 mtime=1.5\n"), file("d", b"1")];
    assert_eq!(walk(&archive(&pax)).unwrap()[0].0.path, "a/b/c");
}

#[test]
fn names_and_links_that_lead_out_are_refused() {
    for path in ["../x", "a/../../x", "/etc/passwd", "a/..", "a\nb", "\u{1b}[2J"] {
        assert!(refusal(&[file(path, b"")]).contains("refused"), "{path}");
    }
    for (kind, target) in [(b'2', "../../x"), (b'2', "/etc/shadow"), (b'1', "../x"), (b'2', "..")] {
        let link = entry(kind, b"a/layer.tar", target.as_bytes(), 0, b"");
        let said = refusal(&[link]);
        assert!(said.contains("links out") && said.contains("docker import"), "{target}: {said}");
    }
    assert!(refusal(&[entry(b'0', b"\xff\xfe", b"", 0, b"")]).contains("UTF-8"));
    let long = [entry(b'L', b"x", b"", 600, &[b'a'; 600]), file("d", b"1")];
    assert!(refusal(&long).contains("too long"));
}

#[test]
fn devices_pipes_and_sparse_files_are_refused() {
    for kind in [b'3', b'4', b'6', b'S', b'Z'] {
        assert!(refusal(&[entry(kind, b"layer.tar", b"", 0, b"")]).contains("not that of a file"));
    }
    assert!(refusal(&[pax(b"22 GNU.sparse.major=1\n"), file("layer.tar", b"x")]).contains("sparse"));
}

#[test]
fn sizes_that_the_headers_disagree_on_are_refused() {
    assert!(refusal(&[pax(b"10 size=9\n"), file("layer.tar", b"five.")]).contains("two sizes"));
    assert!(refusal(&[pax(b"10 size=9\n"), file("layer.tar", b"")]).contains("two sizes"));
    assert_eq!(walk(&archive(&[pax(b"10 size=5\n"), file("layer.tar", b"five.")])).unwrap()[0].1, b"five.");
    assert!(refusal(&[entry(b'2', b"a", b"b", 512, &[0; 512])]).contains("only files have a size"));
}

#[test]
fn sizes_above_eight_gibibytes_come_from_pax() {
    let bytes = [pax(b"20 size=10000000000\n"), file("layer.tar", b"")].concat();
    let mut reader = TarReader::new(Streamed(bytes.as_slice()));
    let entry = reader.next_entry().unwrap().unwrap();
    assert_eq!(entry.kind, TarKind::File { size_bytes: 10_000_000_000 });
}

#[test]
fn huge_extension_headers_are_refused_before_they_are_read() {
    let bytes = entry(b'x', b"pax", b"", 1 << 30, b"");
    assert!(matches!(walk(&bytes), Err(TarError::Header { .. })));
}

#[test]
fn malformed_pax_records_are_refused() {
    for records in
        [&b"x path=a\n"[..], b"99 path=a\n", b"9 path=a", b"2 \n", b"999999999999999999999 a=b\n", b"12 size=nine\n"]
    {
        assert!(refusal(&[pax(records), file("a", b"")]).contains("malformed"), "{records:?}");
    }
}

#[test]
fn an_archive_cut_off_anywhere_says_so() {
    let bytes = archive(&[file("abc/layer.tar", &[7; 700]), file("manifest.json", b"[]")]);
    for end in 1..bytes.len() - BLOCK as usize {
        assert!(matches!(walk(&bytes[..end]), Err(TarError::CutOff { .. } | TarError::Read(_))), "cut at {end}");
    }
    assert!(walk(&bytes[..bytes.len() - BLOCK as usize]).is_ok(), "one end block is an end");
}

#[test]
fn a_flipped_bit_in_a_header_is_found() {
    let bytes = archive(&[file("abc/layer.tar", b"content"), file("manifest.json", b"[]")]);
    // But not in the checksum's own field, where some flips leave the number that it says.
    for bit in ((1024 * 8)..(1536 * 8)).filter(|bit| !(148..156).contains(&(bit / 8 - 1024))) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(walk(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn something_else_is_no_tar() {
    for bytes in [vec![0; 2048], vec![b'x'; 2048], b"{}".repeat(600)] {
        assert!(matches!(walk(&bytes), Err(TarError::NotTar)));
    }
}

#[test]
fn a_million_entries_are_refused() {
    struct Endless(Vec<u8>, usize);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            for byte in buffer.iter_mut() {
                *byte = self.0[self.1 % self.0.len()];
                self.1 += 1;
            }
            Ok(buffer.len())
        }
    }
    let mut reader = TarReader::new(Streamed(Endless(file("a", b""), 0)));
    let end = loop {
        match reader.next_entry() {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(matches!(end, Err(TarError::TooManyEntries)));
}

#[test]
fn jumping_over_files_finds_the_same_entries_and_the_same_cut() {
    let bytes = archive(&[file("abc/layer.tar", &[7; 70_000]), file("manifest.json", b"[]")]);
    let mut reader = TarReader::new(Seekable(io::Cursor::new(&bytes)));
    let mut paths = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        paths.push(entry.path);
    }
    assert_eq!(paths, ["abc/layer.tar", "manifest.json"]);
    let mut cut = TarReader::new(Seekable(io::Cursor::new(&bytes[..60_000])));
    cut.next_entry().unwrap();
    assert!(matches!(cut.next_entry(), Err(TarError::CutOff { .. })));
}

#[test]
fn a_header_of_ours_reads_as_what_it_says() {
    for size in [0, 1, 511, 512, 10_000_000_000u64] {
        let header = file_header("blobs/sha256/x", size);
        let mut reader = TarReader::new(Streamed(header.as_slice()));
        let entry = reader.next_entry().unwrap().unwrap();
        assert_eq!(entry, TarEntry { path: "blobs/sha256/x".into(), kind: TarKind::File { size_bytes: size } });
    }
    assert_eq!((padding(0), padding(1), padding(512), padding(513)), (0, 511, 0, 511));
}
