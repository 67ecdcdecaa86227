//! Who may: credentials to a principal with permissions. It decides nothing about modes and answers no HTTP; both lines
//! ask it before anything moves.
//!
//! A bearer token is compared by its SHA-256 in constant time; a 256-bit token cannot be guessed, so a right one is
//! accepted even while failed attempts are being slowed down. A password costs an Argon2 verification, which runs on a
//! blocking thread, at most two at once, and never for callers that the limiter holds back.

mod access_yaml;
mod error;
mod limiter;
mod principal;
mod secrets;
pub(crate) mod site;
mod token_file;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use tokio::sync::Semaphore;

pub use error::{AccessError, AccessSetupError};
pub(crate) use principal::{Permission, Permissions, Principal};
pub use secrets::token_hash_hex;
pub(crate) use secrets::{TokenHash, hash_password, new_token};
pub(crate) use token_file::TOKEN_FILE;

use limiter::Limiter;
use principal::{Credential, Member};
use secrets::sha256;

/// How many passwords are verified at once: each takes a core and some 19 MiB for tens of milliseconds.
const VERIFICATIONS: usize = 2;

/// How long a verified password is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);

/// How many verified passwords are remembered.
const REMEMBERED: usize = 64;

/// The longest `Authorization` value that is looked at, in bytes.
const LONGEST_AUTHORIZATION: usize = 4096;

/// The user name that goes with the generated token where a client can only send Basic.
const TOKEN_USER: &[u8] = b"admin";

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Over TCP.
    Tcp(SocketAddr),
    /// Over a unix socket; the kernel's word for the user id at the other end, when it gave one.
    Unix(Option<u32>),
}

/// Everybody who may do something.
#[derive(Debug)]
pub struct Access {
    principals: Arc<[Member]>,
    limiter: Mutex<Limiter>,
    verifications: Arc<Semaphore>,
    remembered: Mutex<HashMap<[u8; 32], (usize, Instant)>>,
}

impl Access {
    /// Access by the one token in `<state_dir>/admin.token`, which is made (mode 0600) when it is not there. It grants
    /// everything.
    pub fn from_token_file(state_dir: &Path) -> Result<Access, AccessSetupError> {
        let token = token_file::read_or_create(state_dir)?;
        let principal = Principal { name: Arc::from("admin"), permissions: Permissions::all() };
        let credential = Credential::Token { hash: TokenHash::of(&token), basic: true };
        Ok(Access::new(vec![Member { principal, credential }]))
    }

    /// Access as access.yaml says.
    pub fn from_yaml_file(path: &Path) -> Result<Access, AccessSetupError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| AccessSetupError::Read { path: path.to_owned(), source })?;
        let members =
            access_yaml::parse(&text).map_err(|faults| AccessSetupError::Faults { path: path.to_owned(), faults })?;
        Ok(Access::new(members))
    }

    fn new(members: Vec<Member>) -> Access {
        Access {
            principals: members.into(),
            limiter: Mutex::new(Limiter::new(Instant::now())),
            verifications: Arc::new(Semaphore::new(VERIFICATIONS)),
            remembered: Mutex::new(HashMap::new()),
        }
    }

    /// Finds out who sent `authorization` (the header's value). Cheap for tokens and remembered passwords; a new
    /// password waits for a blocking thread. Usable from every tokio runtime.
    pub(crate) async fn authenticate(&self, authorization: Option<&str>, peer: Peer) -> Result<Principal, AccessError> {
        let Some(authorization) = authorization else { return self.by_peer(peer).ok_or(AccessError::Missing) };
        let presented = match Presented::parse(authorization) {
            Some(presented) => presented,
            None => return Err(self.failed(AccessError::Malformed)),
        };
        if let Some(principal) = self.by_token(&presented) {
            return Ok(principal);
        }
        match &presented {
            Presented::Bearer(_) => Err(self.failed(AccessError::Unknown)),
            Presented::Basic { user, password } => self.by_password(user, password).await,
        }
    }

    fn by_peer(&self, peer: Peer) -> Option<Principal> {
        let Peer::Unix(Some(uid)) = peer else { return None };
        let is_peer = |member: &&Member| matches!(member.credential, Credential::UnixUid(wanted) if wanted == uid);
        self.principals.iter().find(is_peer).map(|member| member.principal.clone())
    }

    /// Looks at every principal, whether one has matched or not, so that the time says nothing.
    fn by_token(&self, presented: &Presented) -> Option<Principal> {
        let (token, as_basic) = match presented {
            Presented::Bearer(token) => (token, false),
            Presented::Basic { user, password } => (password, bool::from(user.as_slice().ct_eq(TOKEN_USER))),
        };
        let by_bearer = matches!(presented, Presented::Bearer(_));
        let hash = sha256(token);
        let mut found = u32::MAX;
        for (index, member) in self.principals.iter().enumerate() {
            let Credential::Token { hash: wanted, basic } = &member.credential else { continue };
            let allowed = Choice::from(u8::from(by_bearer || (as_basic && *basic)));
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            found.conditional_assign(&index, wanted.matches(&hash) & allowed);
        }
        self.principals.get(found as usize).map(|member| member.principal.clone())
    }

    async fn by_password(&self, user: &[u8], password: &[u8]) -> Result<Principal, AccessError> {
        let key = remembered_key(user, password);
        if let Some(principal) = self.recall(&key) {
            return Ok(principal);
        }
        // A token is taken before the work and given back on success, so that attempts at once cannot pass the limit.
        self.lock_limiter().take(Instant::now()).map_err(|retry_after| AccessError::Throttled { retry_after })?;
        let Ok(_slot) = Arc::clone(&self.verifications).acquire_owned().await else {
            return Err(AccessError::Unknown);
        };
        let (members, user, password) = (Arc::clone(&self.principals), user.to_vec(), password.to_vec());
        let found = tokio::task::spawn_blocking(move || verify(&members, &user, &password)).await;
        let Ok(Some(index)) = found else { return Err(AccessError::Unknown) };
        self.lock_limiter().give_back();
        self.remember(key, index);
        Ok(self.principals[index].principal.clone())
    }

    /// Counts a failure; answers with the limit instead once it is reached.
    fn failed(&self, error: AccessError) -> AccessError {
        match self.lock_limiter().take(Instant::now()) {
            Ok(()) => error,
            Err(retry_after) => AccessError::Throttled { retry_after },
        }
    }

    fn recall(&self, key: &[u8; 32]) -> Option<Principal> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let (index, since) = remembered.get(key)?;
        (since.elapsed() < REMEMBERED_FOR).then(|| self.principals[*index].principal.clone())
    }

    fn remember(&self, key: [u8; 32], index: usize) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.retain(|_, (_, since)| since.elapsed() < REMEMBERED_FOR);
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, (index, Instant::now()));
    }

    fn lock_limiter(&self) -> std::sync::MutexGuard<'_, Limiter> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a caller sent.
enum Presented {
    Bearer(Vec<u8>),
    Basic { user: Vec<u8>, password: Vec<u8> },
}

impl Presented {
    /// RFC 9110 11.1 (the scheme in any case), RFC 6750 2.1, RFC 7617 2.
    fn parse(authorization: &str) -> Option<Presented> {
        if authorization.len() > LONGEST_AUTHORIZATION {
            return None;
        }
        let (scheme, credential) = authorization.trim().split_once(' ')?;
        let credential = credential.trim();
        if scheme.eq_ignore_ascii_case("bearer") && !credential.is_empty() && !credential.contains(' ') {
            return Some(Presented::Bearer(credential.as_bytes().to_vec()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = STANDARD.decode(credential).ok()?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        Some(Presented::Basic { user: decoded[..colon].to_vec(), password: decoded[colon + 1..].to_vec() })
    }
}

/// Verifies against the user's own hash, and against some hash when there is no such user, so that the time does not
/// tell which users there are.
fn verify(members: &[Member], user: &[u8], password: &[u8]) -> Option<usize> {
    let mut decoy = None;
    for (index, member) in members.iter().enumerate() {
        let Credential::Password { user: wanted, hash } = &member.credential else { continue };
        if wanted.as_bytes() == user {
            return hash.verifies(password).then_some(index);
        }
        decoy = Some(hash);
    }
    if let Some(hash) = decoy {
        hash.verifies(password);
    }
    None
}

fn remembered_key(user: &[u8], password: &[u8]) -> [u8; 32] {
    let mut credential = Vec::with_capacity(user.len() + password.len() + 1);
    credential.extend_from_slice(user);
    // No user name holds a colon: it ended at the first one.
    credential.push(b':');
    credential.extend_from_slice(password);
    sha256(&credential)
}

#[cfg(test)]
mod tests;
