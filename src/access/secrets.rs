//! Tokens and password hashes: generate, hash, compare. It reads no files and knows no principals.

use argon2::password_hash::phc;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::hex::{from_hex, sha256_hex};

/// Upper bounds of the cost of an Argon2 hash in access.yaml, so that a typo cannot take all memory.
const MOST_MEMORY_KIB: u32 = 256 * 1024;
const MOST_ROUNDS: u32 = 64;

/// The SHA-256 of a token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TokenHash([u8; 32]);

/// A checked Argon2 hash in PHC form.
#[derive(Clone)]
pub(super) struct PasswordHash(phc::PasswordHash);

/// A random token of 256 bits in URL-safe base64.
pub(crate) fn new_token() -> Result<String, getrandom::Error> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The value of `token_sha256`: the SHA-256 of the token in hex.
pub fn token_hash_hex(token: &str) -> String {
    sha256_hex(token)
}

/// The value of `password_argon2`: an Argon2id hash with a random salt in PHC form.
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
    pub(crate) fn of(token: &str) -> TokenHash {
        TokenHash(sha256(token.as_bytes()))
    }

    /// Reads 64 hex digits.
    pub(crate) fn from_hex(hex: &str) -> Option<TokenHash> {
        from_hex(hex).map(TokenHash)
    }

    pub(super) fn matches(&self, hash: &[u8; 32]) -> Choice {
        self.0.as_slice().ct_eq(hash.as_slice())
    }
}

impl PasswordHash {
    /// Parses a PHC string; the error is its fault.
    pub(super) fn parse(phc: &str) -> Result<PasswordHash, String> {
        let hash = phc::PasswordHash::new(phc).map_err(|error| format!("is not a PHC string ({error})"))?;
        if !hash.algorithm.as_str().starts_with("argon2") {
            return Err(format!(
                "uses the algorithm {}; only argon2id, argon2i and argon2d are supported",
                hash.algorithm
            ));
        }
        let params = argon2::Params::try_from(&hash).map_err(|error| format!("has invalid parameters ({error})"))?;
        if params.m_cost() > MOST_MEMORY_KIB || params.t_cost() > MOST_ROUNDS {
            return Err(format!("exceeds the maximum cost: m={MOST_MEMORY_KIB},t={MOST_ROUNDS}"));
        }
        if hash.hash.is_none() || hash.salt.is_none() {
            return Err("has no salt or no hash".to_owned());
        }
        Ok(PasswordHash(hash))
    }

    /// Slow: tens of milliseconds, on a blocking thread only.
    pub(super) fn verifies(&self, password: &[u8]) -> bool {
        Argon2::default().verify_password(password, &self.0).is_ok()
    }
}

// Hashes stay out of logs, as an attacker could crack them offline.
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
