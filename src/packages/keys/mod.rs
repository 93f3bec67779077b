//! Who made a package: keys and signatures in minisign's own form, and whom a machine trusts.
//!
//! `signing` makes and checks signatures, `own` keeps the keys of this desk, `trusted` those that a machine trusts. What is signed is
//! the index of a package, which names all else by its digest.

mod own;
mod signing;
mod trusted;

pub use own::{OwnKey, generate as generate_key, own_keys, read_public_key, signing_key};
pub use signing::{PublicKey, SigningKey};
pub use trusted::{KeyRecord, TrustedKeys, Verdict};
