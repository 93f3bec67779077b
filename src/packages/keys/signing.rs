//! Signatures: Ed25519 over the BLAKE2b hash of the index, as minisign writes and verifies them.

use std::fmt;
use std::io::{Cursor, Read, Seek};

use minisign::{KeyPair, PublicKeyBox, SecretKey, SecretKeyBox, SignatureBox};

use crate::packages::PackagesError;

/// What the bytes of a key begin with.
const ALGORITHM: &[u8] = b"Ed";

/// A public key.
#[derive(Clone)]
pub struct PublicKey {
    key: minisign::PublicKey,
    text: String,
}

impl PublicKey {
    /// Reads one: a file of minisign's, or its second line alone.
    ///
    /// # Errors
    /// It is not one.
    pub fn parse(text: &str) -> Result<Self, PackagesError> {
        let text = text.trim();
        let key = match text.contains('\n') {
            true => PublicKeyBox::from_string(text).and_then(PublicKeyBox::into_public_key),
            false => minisign::PublicKey::from_base64(text),
        };
        let key = key.map_err(|_| PackagesError::NotAKey)?;
        // The library takes any two bytes for the algorithm.
        match key.to_bytes().starts_with(ALGORITHM) {
            true => Ok(Self::of(key)),
            false => Err(PackagesError::NotAKey),
        }
    }

    fn of(key: minisign::PublicKey) -> Self {
        let text = key.to_base64();
        Self { key, text }
    }

    /// What minisign calls it: 16 hex digits.
    pub fn id(&self) -> String {
        id_of(self.key.keynum())
    }

    /// All of it in 56 letters, as minisign takes it (`-P`): what is compared by people.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The file of minisign's that holds it.
    pub fn file_text(&self) -> String {
        format!("untrusted comment: minisign public key {}\n{}\n", self.id(), self.text)
    }

    /// Whether this key made the signature of these bytes.
    pub fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        self.verifies_all_of(Cursor::new(signed), signature)
    }

    /// As [`PublicKey::verifies`], of all that can be read.
    pub fn verifies_all_of(&self, signed: impl Read + Seek, signature: &[u8]) -> bool {
        let Some(signature) = parsed(signature) else { return false };
        minisign::verify(&self.key, &signature, signed, true, false, false).is_ok()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// The ID of the key that a signature says it was made with; `None` for what is not a signature.
pub(super) fn signed_with(signature: &[u8]) -> Option<String> {
    parsed(signature).map(|signature| id_of(signature.keynum()))
}

fn parsed(signature: &[u8]) -> Option<SignatureBox> {
    SignatureBox::from_string(std::str::from_utf8(signature).ok()?).ok()
}

fn id_of(number: &[u8]) -> String {
    number.iter().rev().map(|byte| format!("{byte:02X}")).collect()
}

/// A secret key, ready to sign.
pub struct SigningKey {
    secret: SecretKey,
    public: PublicKey,
}

impl SigningKey {
    /// Makes a new pair; gives the secret key's file, which the password encrypts where there is one.
    pub(super) fn generate(password: Option<String>) -> Result<(String, PublicKey), PackagesError> {
        let made = match password {
            None => KeyPair::generate_unencrypted_keypair(),
            Some(password) => KeyPair::generate_encrypted_keypair(Some(password)),
        };
        let wrong = |error: minisign::PError| PackagesError::MakeKey { why: error.to_string() };
        let KeyPair { pk, sk } = made.map_err(wrong)?;
        let secret = sk.to_box(Some("minisign secret key")).map_err(wrong)?;
        Ok((secret.into_string(), PublicKey::of(pk)))
    }

    /// Reads the file of a secret key.
    ///
    /// # Errors
    /// It is not one; it is encrypted, and the password is missing or wrong.
    pub(super) fn parse(text: &str, password: Option<String>) -> Result<Self, PackagesError> {
        let as_box = || SecretKeyBox::from_string(text).map_err(|_| PackagesError::NotAKey);
        let secret = match SecretKey::from_unencrypted_box(as_box()?) {
            Ok(secret) => secret,
            // Without one, minisign's library would ask for it at the terminal.
            Err(_) => {
                let password = password.ok_or(PackagesError::KeyPassword)?;
                SecretKey::from_box(as_box()?, Some(password)).map_err(|_| PackagesError::KeyPassword)?
            }
        };
        let public = minisign::PublicKey::from_secret_key(&secret).map_err(|_| PackagesError::NotAKey)?;
        Ok(Self { secret, public: PublicKey::of(public) })
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The signature of these bytes, as minisign writes it. No two are equal.
    ///
    /// # Errors
    /// There is no randomness to be had.
    pub fn sign(&self, bytes: &[u8], comment: &str) -> Result<Vec<u8>, PackagesError> {
        self.sign_all_of(Cursor::new(bytes), "dpl-package.json", comment)
    }

    /// As [`SigningKey::sign`], of all that can be read of a file of this name.
    ///
    /// # Errors
    /// It can't be read; there is no randomness to be had.
    pub fn sign_all_of(&self, bytes: impl Read, name: &str, comment: &str) -> Result<Vec<u8>, PackagesError> {
        let untrusted = format!("signature of {name} with key {}", self.public.id());
        let signature = minisign::sign(None, &self.secret, bytes, Some(comment), Some(&untrusted));
        let signature = signature.map_err(|error| PackagesError::MakeKey { why: error.to_string() })?;
        Ok(signature.into_string().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_key_and_its_bytes_alone() {
        let (file, public) = SigningKey::generate(None).unwrap();
        let key = SigningKey::parse(&file, None).unwrap();
        assert_eq!(*key.public(), public);
        let signature = key.sign(b"index", "release v1").unwrap();
        assert!(public.verifies(b"index", &signature) && !public.verifies(b"another", &signature));
        assert_eq!(signed_with(&signature), Some(public.id()));
        let (_, other) = SigningKey::generate(None).unwrap();
        assert!(!other.verifies(b"index", &signature));
        // Behind the last letter nothing counts.
        for place in 0..signature.len() - 1 {
            let mut changed = signature.clone();
            changed[place] ^= 1;
            // The first line is no part of it.
            let is_comment = place < signature.iter().position(|byte| *byte == b'\n').unwrap();
            assert!(is_comment || !public.verifies(b"index", &changed), "byte {place}");
        }
    }

    #[test]
    fn a_public_key_reads_back_from_its_file_and_from_its_line() {
        let (_, public) = SigningKey::generate(None).unwrap();
        assert_eq!(PublicKey::parse(&public.file_text()).unwrap(), public);
        assert_eq!(PublicKey::parse(public.text()).unwrap(), public);
        for wrong in ["", "RWQ", "hello\nworld\n", &"A".repeat(56)] {
            assert!(PublicKey::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
