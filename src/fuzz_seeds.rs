//! The seeds of the fuzz targets (`fuzz/seeds`), to which every finding is added, for the tests that run them all.

use std::path::Path;

/// Hands each seed of a target over; there must be some.
pub fn each(target: &str, mut run: impl FnMut(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut count = 0;
    for seed in std::fs::read_dir(folder).unwrap() {
        let path = seed.unwrap().path();
        run(&std::fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 4, "{count} seeds");
}
