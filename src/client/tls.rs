//! Whom the client trusts: the system's roots and Mozilla's, which are built in so that the
//! program works in an image without a single file of its own.

use super::ClientError;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

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
    let system = rustls_native_certs::load_native_certs();
    // A system without roots is common; a file that somebody named but that cannot be read is a
    // mistake, which would otherwise show as a certificate that is trusted nowhere.
    let was_named = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .iter()
        .any(|key| std::env::var_os(key).is_some_and(|value| !value.is_empty()));
    if was_named && let Some(error) = system.errors.into_iter().next() {
        return Err(ClientError::TrustStore(error));
    }
    let mut roots = RootCertStore::empty();
    // Systems hold odd certificates; one that cannot be parsed is passed over, as OpenSSL does.
    roots.add_parsable_certificates(system.certs);
    roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    Ok(roots)
}
