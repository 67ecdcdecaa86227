//! `<state-dir>/admin.token`: made once, readable by the gateway's user alone. It is never overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::error::AccessSetupError;
use super::secrets::new_token;

/// The file's name in the state directory.
pub(crate) const TOKEN_FILE: &str = "admin.token";

/// The shortest token that is accepted from the file, in characters.
const SHORTEST: usize = 32;

/// Why there is no token.
enum Fault {
    /// The file is not to be used as it is: somebody must change it.
    Unusable(String),
    /// The disk did not do its part; another time it may.
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Io(error)
    }
}

/// Reads the token, or makes it when there is no file.
pub(super) fn read_or_create(state_dir: &Path) -> Result<String, AccessSetupError> {
    let path = state_dir.join(TOKEN_FILE);
    let token = match File::open(&path) {
        Ok(file) => read(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(&path, state_dir),
        Err(error) => Err(Fault::Io(error)),
    };
    token.map_err(|fault| match fault {
        Fault::Unusable(detail) => AccessSetupError::TokenFile { path, detail },
        Fault::Io(source) => AccessSetupError::TokenIo { path, source },
    })
}

fn read(file: File) -> Result<String, Fault> {
    let mode = file.metadata()?.permissions().mode() & 0o077;
    if mode != 0 {
        return Err(Fault::Unusable("others than its owner may use it; make it private: chmod 600".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(4096).read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    let token = text.trim();
    if token.len() < SHORTEST || token.contains(char::is_whitespace) {
        let detail = format!("holds no token of at least {SHORTEST} characters; remove it to have a new one made");
        return Err(Fault::Unusable(detail));
    }
    Ok(token.to_owned())
}

/// Written beside its place and linked into it, so that a crash leaves a whole token or none, and so that of two
/// processes one wins and neither overwrites.
fn create(path: &Path, state_dir: &Path) -> Result<String, Fault> {
    let token = new_token().map_err(|error| Fault::Unusable(format!("no randomness: {error}")))?;
    let draft = state_dir.join(format!(".{TOKEN_FILE}.{}", std::process::id()));
    let written = (|| {
        fs::create_dir_all(state_dir)?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        writeln!(file, "{token}")?;
        file.sync_all()?;
        fs::hard_link(&draft, path)?;
        File::open(state_dir)?.sync_all()
    })();
    // The draft has done its work, or failed; what remains of it is not worth a second error.
    let _ = fs::remove_file(&draft);
    match written {
        Ok(()) => Ok(token),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(File::open(path)?),
        Err(error) => Err(Fault::Io(error)),
    }
}
