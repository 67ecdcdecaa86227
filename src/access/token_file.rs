//! `<state-dir>/admin.token`: generated once, readable only by the user of the gateway, and never overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::error::AccessSetupError;
use super::secrets::new_token;
use crate::files::{self, NotAFile, trimmed};

/// The file's name in the state directory.
pub(crate) const TOKEN_FILE: &str = "admin.token";

/// The shortest accepted token, in characters.
const SHORTEST: usize = 32;

/// The longest accepted file, in bytes.
const LONGEST: usize = 4096;

/// Why there is no token.
enum Fault {
    /// The file must be changed before it can be used.
    Unusable(String),
    /// An I/O error; another attempt may succeed.
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        match NotAFile::is(&error) {
            true => Fault::Unusable(error.to_string()),
            false => Fault::Io(error),
        }
    }
}

/// Reads the token, or generates it if there is no file.
pub(super) fn read_or_create(state_dir: &Path) -> Result<String, AccessSetupError> {
    let path = state_dir.join(TOKEN_FILE);
    let token = match files::open(&path) {
        Ok(file) => read(&path, &file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(&path, state_dir),
        Err(error) => Err(error.into()),
    };
    token.map_err(|fault| match fault {
        Fault::Unusable(detail) => AccessSetupError::TokenFile { path, detail },
        Fault::Io(source) => AccessSetupError::TokenIo { path, source },
    })
}

fn read(path: &Path, file: &File) -> Result<String, Fault> {
    protect(path, file)?;
    let mut bytes = Vec::new();
    file.take(LONGEST as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > LONGEST {
        return Err(Fault::Unusable(format!("is longer than {LONGEST} bytes; remove it to generate a new one")));
    }
    let text = String::from_utf8(bytes).unwrap_or_default();
    let token = trimmed(&text);
    if token.len() < SHORTEST || token.contains(char::is_whitespace) {
        let detail = format!("contains no token of at least {SHORTEST} characters; remove it to generate a new one");
        return Err(Fault::Unusable(detail));
    }
    Ok(token.to_owned())
}

/// Makes sure that only the owner has access. The bits of the group are taken back if the file is the gateway's own: an
/// orchestrator sets them on every volume (`fsGroup` of Kubernetes).
fn protect(path: &Path, file: &File) -> Result<(), Fault> {
    let about = file.metadata()?;
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let is_own = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == about.uid());
    if mode & 0o007 != 0 || !is_own || file.set_permissions(fs::Permissions::from_mode(0o600)).is_err() {
        return Err(Fault::Unusable("group or others have access to it; run chmod 600".to_owned()));
    }
    tracing::warn!(file = %path.display(), "the group had access to the admin token (mode {mode:o}); set back to 600");
    Ok(())
}

/// Writes a draft and links it to the final name, so that a crash leaves a complete token or none, and of two processes one
/// wins and neither overwrites.
fn create(path: &Path, state_dir: &Path) -> Result<String, Fault> {
    let token = new_token().map_err(|error| Fault::Unusable(format!("no randomness: {error}")))?;
    let draft = state_dir.join(format!(".{TOKEN_FILE}.{}", std::process::id()));
    let written = (|| {
        fs::create_dir_all(state_dir)?;
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = files::open_with(&draft, options)?;
        writeln!(file, "{token}")?;
        file.sync_all()?;
        fs::hard_link(&draft, path)?;
        File::open(state_dir)?.sync_all()
    })();
    // A leftover draft is not worth a second error.
    let _ = fs::remove_file(&draft);
    match written {
        Ok(()) => Ok(token),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(path, &files::open(path)?),
        Err(error) => Err(error.into()),
    }
}
