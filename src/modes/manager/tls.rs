//! HTTPS: the certificate files, read when the manager starts and again whenever they change.
//!
//! With `tls_client_ca_file` a client may present a certificate; one that this authority has not
//! signed is refused in the handshake. One without is served as well: health checks, people and
//! enrolled devices have none, and every request needs its credentials either way. A certificate
//! whose subject names a device (common name) and its group (organizational unit) is that device's
//! identity, good for check-in and reports.
//!
//! Invariants: files that cannot be used never take the place of those that are in use; a change is
//! seen by what the files hold, not by their times, because a mounted secret changes by a link.

use super::auth::DeviceCertificate;
use super::config::Tls;
use super::metrics::Metrics;
use crate::model::{CertifiedDevice, DeviceName};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use sha2::{Digest, Sha256};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, X509Certificate};

/// How often the files are looked at. Certificates are renewed days before they end.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A file of certificates is a few kilobytes, and one of all public authorities 200.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Why HTTPS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that holds no PEM of the expected kind.
    #[error("cannot read what `{}` holds", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A file without a certificate.
    #[error("`{}` holds no certificate", .0.display())]
    Empty(PathBuf),
    /// A file with a certificate that is none.
    #[error("`{}` holds a certificate that cannot be read", .0.display())]
    Broken(PathBuf),
    /// Certificate and key do not go together, or are of no use.
    #[error("cannot use the certificate")]
    Certificate(#[source] rustls::Error),
    /// The authorities of client certificates are of no use.
    #[error("cannot use the client authorities")]
    ClientAuthority(#[source] VerifierBuilderError),
}

/// What the files held when they were read.
struct Read {
    certificates: Vec<u8>,
    key: Vec<u8>,
    client_authorities: Option<Vec<u8>>,
}

/// What serves new connections: what the files held when they were last of use.
pub(super) struct Certificates {
    files: Tls,
    in_use: watch::Sender<TlsAcceptor>,
    /// Of what was looked at last, used or not.
    seen: [u8; 32],
    /// When the one in use ends, in seconds since 1970.
    not_after: i64,
}

impl Certificates {
    /// Reads the files.
    pub(super) async fn open(files: &Tls) -> Result<Self, TlsError> {
        let read = Read::from(files).await?;
        let (acceptor, not_after) = read.acceptor(files)?;
        let (seen, in_use) = (read.digest(), watch::Sender::new(acceptor));
        Ok(Self { files: files.clone(), in_use, seen, not_after })
    }

    /// What new connections are accepted with, from one to the next.
    pub(super) fn acceptor(&self) -> watch::Receiver<TlsAcceptor> {
        self.in_use.subscribe()
    }

    /// Looks at the files from time to time, for as long as it is polled.
    pub(super) async fn follow(mut self, metrics: Arc<Metrics>) {
        metrics.certificate_not_after.set(self.not_after);
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_told = false;
        loop {
            looks.tick().await;
            match self.look().await {
                Ok(false) => {}
                Ok(true) => {
                    is_told = false;
                    metrics.certificate_not_after.set(self.not_after);
                    let not_after = self.not_after;
                    tracing::info!(not_after, "certificate files read again");
                }
                Err(error) => {
                    metrics.certificate_failures.inc();
                    if !is_told {
                        is_told = true;
                        let cause = std::error::Error::source(&error).map(ToString::to_string);
                        tracing::error!(%error, cause, "changed certificate files cannot be used; the old ones stay in use");
                    }
                }
            }
        }
    }

    /// Whether there is something new, which is in use from now on.
    async fn look(&mut self) -> Result<bool, TlsError> {
        let read = Read::from(&self.files).await?;
        let seen = read.digest();
        if seen == self.seen {
            return Ok(false);
        }
        let (acceptor, not_after) = read.acceptor(&self.files)?;
        // Only now: files that are written one after the other are of no use in between.
        (self.seen, self.not_after) = (seen, not_after);
        self.in_use.send_replace(acceptor);
        Ok(true)
    }
}

impl Read {
    async fn from(files: &Tls) -> Result<Self, TlsError> {
        let client_authorities = match &files.client_ca_file {
            Some(path) => Some(bytes_of(path).await?),
            None => None,
        };
        let certificates = bytes_of(&files.cert_file).await?;
        Ok(Self { certificates, key: bytes_of(&files.key_file).await?, client_authorities })
    }

    fn digest(&self) -> [u8; 32] {
        let none = Vec::new();
        let authorities = self.client_authorities.as_ref().unwrap_or(&none);
        let parts = [&self.certificates, &self.key, authorities];
        let all = parts.into_iter().fold(Sha256::new(), |all, part| {
            all.chain_update(part.len().to_be_bytes()).chain_update(part)
        });
        all.finalize().into()
    }

    fn acceptor(&self, files: &Tls) -> Result<(TlsAcceptor, i64), TlsError> {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Certificate)?;
        let builder = match files.client_ca_file.as_ref().zip(self.client_authorities.as_ref()) {
            None => builder.with_no_client_auth(),
            Some((path, pem)) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path, pem)? {
                    roots.add(certificate).map_err(TlsError::Certificate)?;
                }
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(TlsError::ClientAuthority)?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|source| TlsError::Pem { path: files.key_file.clone(), source })?;
        let chain = certificates(&files.cert_file, &self.certificates)?;
        let mut not_after = None;
        for one in &chain {
            let broken = |_| TlsError::Broken(files.cert_file.clone());
            let (_, one) = X509Certificate::from_der(one).map_err(broken)?;
            not_after.get_or_insert(one.validity().not_after.timestamp());
        }
        let not_after = not_after.unwrap_or_default();
        let mut config = builder.with_single_cert(chain, key).map_err(TlsError::Certificate)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok((TlsAcceptor::from(Arc::new(config)), not_after))
    }
}

async fn bytes_of(path: &Path) -> Result<Vec<u8>, TlsError> {
    use tokio::io::AsyncReadExt;
    let read = async {
        // Opening a pipe would wait until somebody writes to it.
        if !tokio::fs::metadata(path).await?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "is no regular file"));
        }
        let mut bytes = Vec::new();
        let file = tokio::fs::File::open(path).await?;
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).await?;
        io::Result::Ok(bytes)
    };
    read.await.map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = read.map_err(|source| TlsError::Pem { path: path.to_owned(), source })?;
    if all.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(all) }
}

/// The device that a connection's certificate names; none without one, and when it names none.
pub(super) fn device_certificate(connection: &ServerConnection) -> Option<Arc<DeviceCertificate>> {
    let certificate = connection.peer_certificates()?.first()?;
    let (_, read) = X509Certificate::from_der(certificate).ok()?;
    let subject = read.subject();
    // One that cannot be read counts as well: whoever wrote it may have meant another device.
    let names: Result<Vec<&str>, _> =
        subject.iter_common_name().map(AttributeTypeAndValue::as_str).collect();
    let units: Result<Vec<&str>, _> =
        subject.iter_organizational_unit().map(AttributeTypeAndValue::as_str).collect();
    let (names, units) = (names.ok()?, units.ok()?);
    // With two of one kind it is not for us to choose.
    let ([hostname], [device_group]) = (&names[..], &units[..]) else {
        tracing::debug!(%subject, "a client's certificate names no device");
        return None;
    };
    let seconds = |time: i64| u64::try_from(time).unwrap_or_default();
    let validity = read.validity();
    Some(Arc::new(DeviceCertificate {
        device: CertifiedDevice {
            hostname: DeviceName::new(*hostname).ok()?,
            device_group: (*device_group).to_owned(),
            not_before: seconds(validity.not_before.timestamp()),
        },
        not_after: seconds(validity.not_after.timestamp()),
        fingerprint: Sha256::digest(certificate).into(),
    }))
}
