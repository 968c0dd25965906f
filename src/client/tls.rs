//! Whom the client trusts: the system's roots and Mozilla's, which are built in so that the
//! program works in an image without a single file of its own.

use super::ClientError;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

/// Makes ring the process's provider of cryptography. To be called first in `main`; calling it
/// again changes nothing.
pub fn install_crypto_provider() {
    // An error says that there is one already, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The TLS side of a client. Roots are read only when they will be used: they cost some
/// milliseconds, and a client without `https` never follows a redirect to it.
pub(super) fn client_config(uses_tls: bool) -> Result<ClientConfig, ClientError> {
    let roots = if uses_tls { roots()? } else { RootCertStore::empty() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn roots() -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    // Systems hold odd certificates; one that cannot be parsed is passed over, as OpenSSL does.
    roots.add_parsable_certificates(of_system().map_err(ClientError::TrustStore)?);
    roots.add_parsable_certificates(TLS_SERVER_ROOT_CERTS.iter().cloned());
    Ok(roots)
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
