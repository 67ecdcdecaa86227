//! Tokens and password hashes: making, hashing, comparing. It reads no files and knows no principals.

use argon2::password_hash::phc;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::hex::sha256_hex;

/// Upper bounds of what an Argon2 hash in access.yaml may cost, so that a slip cannot take all memory.
const MOST_MEMORY_KIB: u32 = 256 * 1024;
const MOST_ROUNDS: u32 = 64;

/// The SHA-256 of a token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TokenHash([u8; 32]);

/// A checked Argon2 hash in PHC form.
#[derive(Clone)]
pub(super) struct PasswordHash(phc::PasswordHash);

/// A new random token of 256 bits in URL-safe letters.
pub(crate) fn new_token() -> Result<String, getrandom::Error> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The value of `token_sha256`: the SHA-256 of the token in hex.
pub fn token_hash_hex(token: &str) -> String {
    sha256_hex(token)
}

/// What `password_argon2` holds: an Argon2id hash with a random salt in PHC form.
pub(crate) fn hash_password(password: &[u8]) -> Result<String, String> {
    let mut salt = [0u8; 16];
    getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
    let hash: phc::PasswordHash =
        Argon2::default().hash_password_with_salt(password, &salt).map_err(|error| error.to_string())?;
    Ok(hash.to_string())
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

impl TokenHash {
    /// The hash of a token.
    pub(crate) fn of(token: &str) -> TokenHash {
        TokenHash(sha256(token.as_bytes()))
    }

    /// Reads 64 hex digits.
    pub(crate) fn from_hex(hex: &str) -> Option<TokenHash> {
        if hex.len() != 64 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let mut hash = [0u8; 32];
        for (place, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * place..2 * place + 2], 16).ok()?;
        }
        Some(TokenHash(hash))
    }

    pub(super) fn matches(&self, hash: &[u8; 32]) -> Choice {
        self.0.as_slice().ct_eq(hash.as_slice())
    }
}

impl PasswordHash {
    /// Reads a PHC string, or says what is wrong with it.
    pub(super) fn parse(phc: &str) -> Result<PasswordHash, String> {
        let hash = phc::PasswordHash::new(phc).map_err(|error| format!("is no PHC string ({error})"))?;
        if !hash.algorithm.as_str().starts_with("argon2") {
            return Err(format!("is of algorithm {}, and only argon2id, argon2i and argon2d are read", hash.algorithm));
        }
        let params = argon2::Params::try_from(&hash).map_err(|error| format!("has bad parameters ({error})"))?;
        if params.m_cost() > MOST_MEMORY_KIB || params.t_cost() > MOST_ROUNDS {
            return Err(format!("costs too much: at most m={MOST_MEMORY_KIB},t={MOST_ROUNDS}"));
        }
        if hash.hash.is_none() || hash.salt.is_none() {
            return Err("lacks its salt or its hash".to_owned());
        }
        Ok(PasswordHash(hash))
    }

    /// Slow: tens of milliseconds, on a blocking thread only.
    pub(super) fn verifies(&self, password: &[u8]) -> bool {
        Argon2::default().verify_password(password, &self.0).is_ok()
    }
}

// Hashes stay out of logs: they are what an attacker would work on.
impl std::fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}
