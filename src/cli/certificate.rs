//! `certificate new`: a certificate authority and a certificate that it has signed, to try TLS out. The authority's key is not
//! kept. In production, use certificates of the site's own authority.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use super::output::{FAILED, fail, print};

/// A certificate is valid from a day ago: the clock of a client may be late.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The arguments of `certificate`.
#[derive(Args, Debug)]
pub(crate) struct CertificateArgs {
    #[command(subcommand)]
    command: CertificateCommand,
}

#[derive(Debug, Subcommand)]
enum CertificateCommand {
    /// Write ca.pem, gateway.pem and gateway.key, to try TLS out
    New {
        /// Host name or address in the certificate; repeatable
        #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "localhost,127.0.0.1,::1")]
        name: Vec<String>,
        /// Folder of the files; none of them is overwritten
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
        /// Days until the certificate ends
        #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=3650))]
        days: u16,
    },
}

/// Why the files cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertificateError {
    #[error("cannot make a certificate: {0}; a name is a host name or an address")]
    Make(#[from] rcgen::Error),
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

pub(super) struct CertificateFiles {
    pub(super) ca: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

pub(crate) fn run(arguments: &CertificateArgs) -> ExitCode {
    let CertificateCommand::New { name, dir, days } = &arguments.command;
    match create(dir, name, *days) {
        Ok(CertificateFiles { ca, certificate, key }) => {
            let [ca, certificate, key] = [ca, certificate, key].map(|path| path.display().to_string());
            let text = format!(
                "Use them for a trial only; {key} is secret.\n\n  \
                 ucs-gateway serve --tls-cert {certificate} --tls-key {key} …\n  curl --cacert {ca} https://…\n"
            );
            print(&text, ExitCode::SUCCESS)
        }
        Err(error @ CertificateError::Write { .. }) if error.is_there() => {
            fail(FAILED, format!("{error}; remove it, or name another --dir"))
        }
        Err(error) => fail(FAILED, error),
    }
}

impl CertificateError {
    /// A file that exists is never overwritten.
    fn is_there(&self) -> bool {
        matches!(self, CertificateError::Write { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }
}

/// Makes an authority and a certificate for these names, for both sides of a connection.
pub(super) fn create(dir: &Path, names: &[String], days: u16) -> Result<CertificateFiles, CertificateError> {
    let now = date_time_ymd(1970, 1, 1) + UNIX_EPOCH.elapsed().unwrap_or_default();
    let (begin, end) = (now - DAY, now + DAY * u32::from(days));
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "ucs-gateway trial CA");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (authority.not_before, authority.not_after) = (begin, end);
    let authority_key = KeyPair::generate()?;
    let ca = authority.self_signed(&authority_key)?;
    let mut params = CertificateParams::new(names)?;
    let common_name = names.first().map_or("ucs-gateway", String::as_str);
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (begin, end);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &Issuer::new(authority, authority_key))?;
    Ok(CertificateFiles {
        ca: write(dir, "ca.pem", &ca.pem(), 0o644)?,
        certificate: write(dir, "gateway.pem", &certificate.pem(), 0o644)?,
        key: write(dir, "gateway.key", &key.serialize_pem(), 0o600)?,
    })
}

/// Writes a new file.
fn write(dir: &Path, name: &str, text: &str, mode: u32) -> Result<PathBuf, CertificateError> {
    let path = dir.join(name);
    let written = std::fs::create_dir_all(dir)
        .and_then(|()| OpenOptions::new().write(true).create_new(true).mode(mode).open(&path))
        .and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Ok(()) => Ok(path),
        Err(source) => Err(CertificateError::Write { path, source }),
    }
}
