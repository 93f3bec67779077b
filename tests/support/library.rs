//! What deltas are made of: a layer with a library in it that does not compress.

/// The layer, with something in the middle of the library.
pub fn library(change: &str) -> Vec<u8> {
    let mut state = 11_u64;
    let mut content: Vec<u8> = (0..400_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as u8
        })
        .collect();
    content.splice(200_000..200_000, change.bytes());
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "lib.so", content.as_slice()).unwrap();
    tar.into_inner().unwrap()
}
