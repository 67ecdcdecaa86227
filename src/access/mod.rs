//! Authentication and permissions: a credential to its principal. It decides nothing about modes and speaks no HTTP.
//!
//! A bearer token is compared by its SHA-256 in constant time; a 256-bit token cannot be guessed, so a valid one is
//! accepted even while failed attempts are being throttled. A password costs an Argon2 verification, which runs on a
//! blocking thread, at most two at once, and never for a throttled caller. Each port has its own limits.

mod access_yaml;
mod error;
mod limiter;
mod principal;
mod secrets;
pub(crate) mod site;
mod token_file;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use tokio::sync::{Semaphore, watch};

pub(crate) use error::{AccessError, AccessSetupError};
pub(crate) use principal::{Permission, Permissions, Principal};
pub use secrets::token_hash_hex;
pub(crate) use secrets::{TokenHash, hash_password, new_token};
pub(crate) use token_file::TOKEN_FILE;

use crate::files::{self, PutInForce, ReloadedFile};
use crate::transport::{ClientCertificate, Peer};
use limiter::{Attempt, Limiter};
use principal::{Credential, Member};
use secrets::sha256;

/// The number of concurrent password verifications: each takes a core and some 19 MiB for tens of milliseconds.
const VERIFICATIONS: usize = 2;

/// The lifetime of a cached password verification.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);

/// The number of cached password verifications.
const REMEMBERED: usize = 64;

/// The longest accepted `Authorization` value, in bytes.
const LONGEST_AUTHORIZATION: usize = 4096;

/// The user name of the generated token, for clients that can only send Basic.
const TOKEN_USER: &[u8] = b"admin";

/// The principals, and the limits of one port.
#[derive(Debug)]
pub struct Access {
    principals: Arc<Principals>,
    limiter: Mutex<Limiter>,
    verifications: Arc<Semaphore>,
}

/// The principals in force, shared by both ports.
#[derive(Debug)]
struct Principals {
    /// access.yaml, if that is where they come from.
    file: Option<PathBuf>,
    members: watch::Sender<Arc<Members>>,
}

/// The principals of one reading.
#[derive(Debug)]
struct Members {
    /// The text, for comparison.
    fingerprint: [u8; 32],
    list: Vec<Member>,
    /// Verified passwords. They end with the reading, so that a removed one is not accepted from memory.
    remembered: Mutex<HashMap<[u8; 32], (usize, Instant)>>,
}

impl Access {
    /// Access by the token in `<state_dir>/admin.token`, which is generated (mode 0600) if the file does not exist. It grants
    /// every permission.
    pub fn from_token_file(state_dir: &Path) -> Result<Access, AccessSetupError> {
        let token = token_file::read_or_create(state_dir)?;
        let principal = Principal { name: Arc::from("admin"), permissions: Permissions::all() };
        let credential = Credential::Token { hash: TokenHash::of(&token), basic: true };
        Ok(Access::new(Members::new(vec![Member { principal, credential }], ""), None))
    }

    pub(crate) fn from_yaml_file(path: &Path) -> Result<Access, AccessSetupError> {
        Ok(Access::new(read_file(path)?, Some(path.to_owned())))
    }

    fn new(members: Members, file: Option<PathBuf>) -> Access {
        Access::of(Arc::new(Principals { file, members: watch::Sender::new(Arc::new(members)) }))
    }

    fn of(principals: Arc<Principals>) -> Access {
        let verifications = Arc::new(Semaphore::new(VERIFICATIONS));
        Access { principals, limiter: Mutex::default(), verifications }
    }

    /// The same principals with limits of its own, so that guesses on one port do not count on the other.
    pub(crate) fn for_another_port(&self) -> Access {
        Access::of(Arc::clone(&self.principals))
    }

    /// access.yaml, if that is where the principals come from: a reload puts it in force on both ports.
    pub(crate) fn reloaded_file(&self) -> Option<Arc<ReloadedFile>> {
        let principals = Arc::downgrade(&self.principals);
        let path = self.principals.file.clone()?;
        Some(ReloadedFile::new("access", move || {
            let members = read_file(&path).map_err(|error| error.to_string())?;
            let principals = principals.clone();
            let put: PutInForce = Box::new(move || principals.upgrade().is_some_and(|kept| kept.replace(members)));
            Ok(put)
        }))
    }

    /// Waits until other principals are in force, so that what one of them began can be ended.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut members = self.principals.members.subscribe();
        async move { drop(members.changed().await) }
    }

    fn members(&self) -> Arc<Members> {
        Arc::clone(&self.principals.members.borrow())
    }

    /// The principal of a client certificate that was verified; `None` also if it stands for several.
    pub(crate) fn by_certificate(&self, certificate: &ClientCertificate) -> Option<Principal> {
        let members = self.members();
        let stands_for = |member: &&Member| match &member.credential {
            Credential::Certificate(name) => name.is_in(certificate),
            _ => false,
        };
        let mut found = members.list.iter().filter(stands_for);
        match (found.next(), found.next()) {
            (Some(only), None) => Some(only.principal.clone()),
            (Some(one), Some(other)) => {
                let (one, other) = (&one.principal.name, &other.principal.name);
                tracing::warn!(%one, %other, "a client certificate stands for several principals: it is not accepted");
                None
            }
            (None, _) => None,
        }
    }

    /// The principal of an `Authorization` value. Cheap for tokens and cached passwords; a new password waits for a blocking
    /// thread. Usable from every tokio runtime.
    pub(crate) async fn authenticate(&self, authorization: Option<&str>, peer: Peer) -> Result<Principal, AccessError> {
        let members = self.members();
        let Some(authorization) = authorization else { return members.by_peer(peer).ok_or(AccessError::Missing) };
        let Some(presented) = Presented::parse(authorization) else {
            return Err(self.failed(peer, AccessError::Malformed));
        };
        if let Some(principal) = members.by_token(&presented) {
            return Ok(principal);
        }
        match &presented {
            Presented::Bearer(_) => Err(self.failed(peer, AccessError::Unknown)),
            Presented::Basic { user, password } => self.by_password(members, peer, user, password).await,
        }
    }

    async fn by_password(
        &self,
        mut members: Arc<Members>,
        peer: Peer,
        user: &[u8],
        password: &[u8],
    ) -> Result<Principal, AccessError> {
        let key = remembered_key(user, password);
        if let Some(principal) = members.recall(&key) {
            return Ok(principal);
        }
        // An attempt is taken before the work and given back on success, so that concurrent attempts cannot exceed the limit.
        let attempt = Attempt::Password(user);
        let taken = self.lock_limiter().take(peer, attempt, Instant::now());
        taken.map_err(|retry_after| AccessError::Throttled { retry_after })?;
        let Ok(mut slot) = Arc::clone(&self.verifications).acquire_owned().await else {
            return Err(AccessError::Unknown);
        };
        loop {
            let (list, user, password) = (Arc::clone(&members), user.to_vec(), password.to_vec());
            // The slot is held by the work, which goes on if the client leaves.
            let verified = tokio::task::spawn_blocking(move || (verify(&list.list, &user, &password), slot)).await;
            let Ok((Some(index), held)) = verified else { return Err(AccessError::Unknown) };
            slot = held;
            let now = self.members();
            if Arc::ptr_eq(&now, &members) {
                self.lock_limiter().give_back(peer, attempt, Instant::now());
                members.remember(key, index);
                return Ok(members.list[index].principal.clone());
            }
            // Reloaded meanwhile: the principal may be gone.
            members = now;
        }
    }

    /// Counts a failure; once the limit is reached, the error is the limit.
    fn failed(&self, peer: Peer, error: AccessError) -> AccessError {
        match self.lock_limiter().take(peer, Attempt::Token, Instant::now()) {
            Ok(()) => error,
            Err(retry_after) => AccessError::Throttled { retry_after },
        }
    }

    fn lock_limiter(&self) -> std::sync::MutexGuard<'_, Limiter> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Principals {
    fn replace(&self, members: Members) -> bool {
        let is_new = members.fingerprint != self.members.borrow().fingerprint;
        if is_new {
            self.members.send_replace(Arc::new(members));
        }
        is_new
    }
}

impl Members {
    fn new(list: Vec<Member>, text: &str) -> Members {
        Members { fingerprint: sha256(text.as_bytes()), list, remembered: Mutex::default() }
    }

    fn by_peer(&self, peer: Peer) -> Option<Principal> {
        let Peer::Unix(Some(uid)) = peer else { return None };
        let is_peer = |member: &&Member| matches!(member.credential, Credential::UnixUid(wanted) if wanted == uid);
        self.list.iter().find(is_peer).map(|member| member.principal.clone())
    }

    /// Compares with every principal, even after a match, so that the time reveals nothing.
    fn by_token(&self, presented: &Presented) -> Option<Principal> {
        let (token, as_basic) = match presented {
            Presented::Bearer(token) => (token, false),
            Presented::Basic { user, password } => (password, bool::from(user.as_slice().ct_eq(TOKEN_USER))),
        };
        let by_bearer = matches!(presented, Presented::Bearer(_));
        let hash = sha256(token);
        let mut found = u32::MAX;
        for (index, member) in self.list.iter().enumerate() {
            let Credential::Token { hash: wanted, basic } = &member.credential else { continue };
            let allowed = Choice::from(u8::from(by_bearer || (as_basic && *basic)));
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            found.conditional_assign(&index, wanted.matches(&hash) & allowed);
        }
        self.list.get(found as usize).map(|member| member.principal.clone())
    }

    fn recall(&self, key: &[u8; 32]) -> Option<Principal> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let (index, since) = remembered.get(key)?;
        (since.elapsed() < REMEMBERED_FOR).then(|| self.list[*index].principal.clone())
    }

    fn remember(&self, key: [u8; 32], index: usize) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.retain(|_, (_, since)| since.elapsed() < REMEMBERED_FOR);
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, (index, Instant::now()));
    }
}

fn read_file(path: &Path) -> Result<Members, AccessSetupError> {
    let text = files::read_text(path).map_err(|source| AccessSetupError::Read { path: path.to_owned(), source })?;
    let members = access_yaml::parse(&text, &path.display().to_string());
    let members = members.map_err(|faults| AccessSetupError::Faults { path: path.to_owned(), faults })?;
    Ok(Members::new(members, &text))
}

/// The credential of a request.
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

/// Verifies against the hash of the user, or against another hash if the user does not exist, so that the time does not reveal
/// the users.
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
    // No user name contains a colon: it ended at the first one.
    credential.push(b':');
    credential.extend_from_slice(password);
    sha256(&credential)
}

#[cfg(test)]
mod tests;
