//! The PEM files of a client's TLS: authorities to trust beside the system's, and the certificate
//! that it presents.
//!
//! What it is: where they are, and what stands in them at one moment, whole or not at all. What it
//! is not: it watches nothing; who makes requests says when to look again ([`super::Client::renew`]).
//!
//! Invariants: certificate and key belong together; no error and no `Debug` holds what stands in a
//! file.

use crate::config::{CertificateFiles, Settings, TlsFiles, TlsKeys, read_file};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use sha2::{Digest, Sha256};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("file {} {fault}", path.display())]
pub struct TlsFileError {
    role: Role,
    path: PathBuf,
    fault: Fault,
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Authorities,
    Certificate,
    Key,
}

/// What is wrong with it.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("holds no certificate in PEM form (`-----BEGIN CERTIFICATE-----`)")]
    NoCertificate,
    #[error("holds a certificate that is none: {0}")]
    Certificate(rustls::Error),
    #[error("holds no private key in PEM form (`-----BEGIN PRIVATE KEY-----`)")]
    NoKey,
    #[error(
        "holds a private key with a passphrase; take it off with `openssl pkey -in IN -out OUT`"
    )]
    Passphrase,
    #[error("holds a private key of a kind that is not known here: {0}")]
    Key(rustls::Error),
    #[error("holds another key than that of the certificate in {}", .0.display())]
    OtherKey(PathBuf),
}

/// What stands in the files.
#[derive(Default)]
pub(super) struct TlsContent {
    pub(super) authorities: Vec<CertificateDer<'static>>,
    pub(super) certificate: Option<Arc<CertifiedKey>>,
    /// Tells one content from another.
    pub(super) digest: [u8; 32],
}

type Read<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

impl TlsFiles {
    /// Records what is wrong with the files, each by its key: a daemon that starts with files that it
    /// cannot use would present nothing.
    pub fn check(&self, settings: &mut Settings, keys: &TlsKeys, read: Read<'_>) {
        // Both halves by themselves, so that all that is wrong is told at once.
        let halves = [(self.ca_file.clone(), None), (None, self.certificate.clone())];
        for (ca_file, certificate) in halves {
            if let Err(error) = (Self { ca_file, certificate }).read_by(read) {
                let key = match error.role {
                    Role::Authorities => keys.ca_file,
                    Role::Certificate => keys.cert_file,
                    Role::Key => keys.key_file,
                };
                settings.refuse(key, error.to_string());
            }
        }
    }

    /// Reads them from the disk.
    pub(super) fn read(&self) -> Result<TlsContent, TlsFileError> {
        self.read_by(&|path| {
            // Opening a pipe would wait until somebody writes to it, and the worker with it.
            if std::fs::metadata(path)?.is_file() {
                read_file(path)
            } else {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "is no regular file"))
            }
        })
    }

    fn read_by(&self, read: Read<'_>) -> Result<TlsContent, TlsFileError> {
        let mut seen = Sha256::new();
        let mut bytes = |role, path: &Path| {
            let bytes = read(path).map_err(|error| fault(role, path, Fault::Unreadable(error)))?;
            seen.update(bytes.len().to_be_bytes());
            seen.update(&bytes);
            Ok(bytes)
        };
        let mut content = TlsContent::default();
        if let Some(path) = &self.ca_file {
            content.authorities = authorities(path, &bytes(Role::Authorities, path)?)?;
        }
        if let Some(files) = &self.certificate {
            let chain = bytes(Role::Certificate, &files.cert_file)?;
            let key = bytes(Role::Key, &files.key_file)?;
            content.certificate = Some(Arc::new(certified(files, &chain, &key)?));
        }
        content.digest = seen.finalize().into();
        Ok(content)
    }
}

fn fault(role: Role, path: &Path, fault: Fault) -> TlsFileError {
    TlsFileError { role, path: path.to_owned(), fault }
}

fn authorities(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let all = certificates(Role::Authorities, path, bytes)?;
    for one in &all {
        RootCertStore::empty()
            .add(one.clone())
            .map_err(|error| fault(Role::Authorities, path, Fault::Certificate(error)))?;
    }
    Ok(all)
}

fn certified(
    files: &CertificateFiles,
    chain: &[u8],
    key: &[u8],
) -> Result<CertifiedKey, TlsFileError> {
    let CertificateFiles { cert_file, key_file } = files;
    let chain = certificates(Role::Certificate, cert_file, chain)?;
    let of_key = |why| fault(Role::Key, key_file, why);
    // The parser's own words would repeat a line of the file, which is a key's.
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
        let is_locked = String::from_utf8_lossy(key).contains("ENCRYPTED");
        of_key(if is_locked { Fault::Passphrase } else { Fault::NoKey })
    })?;
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            of_key(Fault::OtherKey(cert_file.clone()))
        }
        rustls::Error::InvalidCertificate(_) => {
            fault(Role::Certificate, cert_file, Fault::Certificate(error))
        }
        _ => of_key(Fault::Key(error)),
    })
}

fn certificates(
    role: Role,
    path: &Path,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match read {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(fault(role, path, Fault::NoCertificate)),
    }
}
