//! Where the PEM files of a client's TLS are, as a mode's configuration names them. What stands in
//! them is read elsewhere.

use super::Settings;
use std::path::PathBuf;

/// Where the files are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The certificate to present.
    pub certificate: Option<CertificateFiles>,
}

/// A certificate and its private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and behind it those of the authorities between it and a known one.
    pub cert_file: PathBuf,
    /// Its private key, without a passphrase.
    pub key_file: PathBuf,
}

/// The keys of the configuration that name the files.
#[derive(Debug, Clone, Copy)]
pub struct TlsKeys {
    /// Of the authorities.
    pub ca_file: &'static str,
    /// Of the certificate.
    pub cert_file: &'static str,
    /// Of its private key.
    pub key_file: &'static str,
}

impl TlsFiles {
    /// The files that a mode's configuration names.
    pub fn from_settings(settings: &mut Settings, keys: &TlsKeys) -> Self {
        settings.needs(keys.cert_file, keys.key_file);
        settings.needs(keys.key_file, keys.cert_file);
        let pair = (settings.path(keys.cert_file), settings.path(keys.key_file));
        let certificate = match pair {
            (Some(cert_file), Some(key_file)) => Some(CertificateFiles { cert_file, key_file }),
            _ => None,
        };
        Self { ca_file: settings.path(keys.ca_file), certificate }
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
