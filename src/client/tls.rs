//! Whom the client trusts: the system's roots, Mozilla's, which are built in so that the program
//! works in an image without a single file of its own, and those of [`TlsFiles`]. And the certificate that
//! it presents, which is theirs alone.

use super::ClientError;
use super::tls_files::TlsContent;
use crate::config::TlsFiles;
use rustls::pki_types::CertificateDer;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

/// Makes ring the process's provider of cryptography. To be called first in `main`; calling it
/// again changes nothing.
pub fn install_crypto_provider() {
    // An error says that there is one already, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The TLS side of a client that uses none: it never follows a redirect to it.
pub(super) fn no_tls() -> Result<ClientConfig, ClientError> {
    config(RootCertStore::empty(), &TlsContent::default())
}

/// The TLS side of a client with what stands in its files. Reading the roots costs some milliseconds.
pub(super) fn client_config(content: &TlsContent) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    // Systems hold odd certificates; one that cannot be parsed is passed over, as OpenSSL does.
    roots.add_parsable_certificates(of_system().map_err(ClientError::TrustStore)?);
    roots.add_parsable_certificates(TLS_SERVER_ROOT_CERTS.iter().cloned());
    roots.add_parsable_certificates(content.authorities.iter().cloned());
    config(roots, content)
}

/// The same for connections that are made without a [`super::Client`].
pub fn tls_config(files: &TlsFiles) -> Result<ClientConfig, ClientError> {
    client_config(&files.read().map_err(ClientError::TlsFile)?)
}

fn config(roots: RootCertStore, content: &TlsContent) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Tls)?
        .with_root_certificates(roots);
    let mut config = match &content.certificate {
        None => builder.with_no_client_auth(),
        Some(certificate) => {
            let resolver = SingleCertAndKey::from(Arc::clone(certificate));
            builder.with_client_cert_resolver(Arc::new(resolver))
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Whom a client that brings TLS of its own is to trust: the system's roots, or where there are none
/// those that are built in. Both would be most of them twice, and each costs it kilobytes.
pub fn trusted_certificates() -> Result<Vec<CertificateDer<'static>>, rustls_native_certs::Error> {
    let is_sound =
        |certificate: &CertificateDer<'_>| RootCertStore::empty().add(certificate.clone()).is_ok();
    let mut certificates = of_system()?;
    certificates.retain(is_sound);
    if certificates.is_empty() {
        certificates = TLS_SERVER_ROOT_CERTS.to_vec();
    }
    Ok(certificates)
}

fn of_system() -> Result<Vec<CertificateDer<'static>>, rustls_native_certs::Error> {
    let system = rustls_native_certs::load_native_certs();
    // A system without roots is common; a file that somebody named but that cannot be read is a
    // mistake, which would otherwise show as a certificate that is trusted nowhere.
    let was_named = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .iter()
        .any(|key| std::env::var_os(key).is_some_and(|value| !value.is_empty()));
    match system.errors.into_iter().next() {
        Some(error) if was_named => Err(error),
        _ => Ok(system.certs),
    }
}
