//! The work of `benches/deltas.sh`, without a package around it: one layer, plain tars, and what each step takes.
//!
//!     layer_deltas create NEW DELTA LEVEL THREADS OLD…
//!     layer_deltas unpack OLD.zst OLD
//!     layer_deltas apply DELTA OUTPUT THREADS OLD…
//!
//! prints seconds and bytes. Digests that a caller has anyway are not part of the time: `unpack` compares those of old layers.

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, Write};
use std::path::Path;
use std::time::Instant;

use dpl::fs::{Digest, HashingWriter, hash_file};
use dpl::packages::delta::{BaseIndex, BaseLayer, CreateOptions, Header, Wanted, apply, create};

type Outcome = Result<(), Box<dyn Error>>;

struct Old {
    diff_id: Digest,
    size: u64,
    file: File,
}

impl Old {
    fn open(path: &String) -> Result<Self, Box<dyn Error>> {
        let (diff_id, size) = hash_file(Path::new(path))?;
        Ok(Self { diff_id, size, file: File::open(path)? })
    }

    fn layer(&self) -> BaseLayer<'_> {
        BaseLayer { diff_id: &self.diff_id, size: self.size, tar: &self.file }
    }
}

fn main() -> Outcome {
    // cargo bench adds flags of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["create", new, delta, level, threads, ..] => {
            let options = CreateOptions { level: level.parse()?, threads: threads.parse()? };
            make(new, delta, &options, &words[5..])
        }
        ["unpack", packed, plain] => unpack(packed, plain),
        ["apply", delta, output, threads, ..] => rebuild(delta, output, threads.parse()?, &words[4..]),
        // `cargo bench` runs it without words.
        _ => Ok(()),
    }
}

fn make(new: &str, delta: &str, options: &CreateOptions, olds: &[String]) -> Outcome {
    let olds = olds.iter().map(Old::open).collect::<Result<Vec<_>, _>>()?;
    let (diff_id, _) = hash_file(Path::new(new))?;
    let mut spool = tempfile::tempfile_in(Path::new(delta).parent().unwrap_or(Path::new(".")))?;
    let begun = Instant::now();
    let index = BaseIndex::read(olds.iter().map(Old::layer).collect())?;
    let created = create(File::open(new)?, &diff_id, &index, options, BufWriter::new(&spool))?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut output = File::create(delta)?;
    output.write_all(&created.header_bytes())?;
    spool.rewind()?;
    std::io::copy(&mut spool, &mut output)?;
    println!("{seconds:.3} {}", created.size());
    Ok(())
}

fn unpack(packed: &str, plain: &str) -> Outcome {
    let begun = Instant::now();
    let mut decoder = zstd::stream::read::Decoder::new(BufReader::with_capacity(64 << 10, File::open(packed)?))?;
    let mut output = HashingWriter::new(File::create(plain)?);
    std::io::copy(&mut decoder, &mut output)?;
    let (_, _, bytes) = output.finish();
    println!("{:.3} {bytes}", begun.elapsed().as_secs_f64());
    Ok(())
}

fn rebuild(delta: &str, output: &str, threads: usize, olds: &[String]) -> Outcome {
    let olds = olds.iter().map(Old::open).collect::<Result<Vec<_>, _>>()?;
    let layers: Vec<BaseLayer<'_>> = olds.iter().map(Old::layer).collect();
    let diff_id = Header::read(&mut BufReader::new(File::open(delta)?))?.result.diff_id;
    let begun = Instant::now();
    let wanted = Wanted { diff_id: &diff_id, most_bytes: u64::MAX, threads };
    let tar = apply(BufReader::new(File::open(delta)?), &layers, &wanted, File::create(output)?)?;
    println!("{:.3} {}", begun.elapsed().as_secs_f64(), tar.size);
    Ok(())
}
