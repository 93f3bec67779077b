//! Images from and for other programs: import of archives and layouts, export of `docker load` archives.

pub mod export;
pub mod import;
mod inputs;
mod offered;
pub mod parts;
mod space;

#[cfg(test)]
mod tests;
