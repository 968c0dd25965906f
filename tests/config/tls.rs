//! The files of TLS and the enrollment token of a worker.

use crate::given::Given;
use nebula::client::{CertificateFiles, TlsFiles};
use nebula::modes::worker::config::ManagerCredentials;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rstest::rstest;
use std::path::PathBuf;

/// What stands in good files.
pub(crate) struct Pem {
    pub(crate) authority: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Pem {
    pub(crate) fn new() -> Self {
        let params = |name: &str| CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let key = || KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params("authority"), key()).expect("made");
        let key = key();
        let certificate = params("device").signed_by(&key, &authority).expect("signed");
        Self {
            authority: authority.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A worker with a certificate for its manager, all files in order.
fn with_files() -> Given {
    let Pem { authority, certificate, key } = Pem::new();
    Given::worker()
        .env("NEBULA_MANAGER_PROTOCOL", "https")
        .env("NEBULA_MANAGER_CA_FILE", "ca.pem")
        .env("NEBULA_MANAGER_CERT_FILE", "device.pem")
        .env("NEBULA_MANAGER_KEY_FILE", "device.key")
        .file("ca.pem", authority)
        .file("device.pem", certificate)
        .file("device.key", key)
}

#[test]
fn the_files_of_tls_are_taken_by_their_paths() {
    let config = with_files().load_worker().expect("starts");
    let certificate = CertificateFiles {
        cert_file: PathBuf::from("device.pem"),
        key_file: PathBuf::from("device.key"),
    };
    let ca_file = Some(PathBuf::from("ca.pem"));
    assert_eq!(config.manager_tls, TlsFiles { ca_file, certificate: Some(certificate) });
    assert_eq!(Given::worker().load_worker().expect("starts").manager_tls, TlsFiles::default());
}

#[rstest]
#[case::certificate_without_key(
    with_files().env("NEBULA_MANAGER_KEY_FILE", ""),
    "`manager_cert_file` from environment NEBULA_MANAGER_CERT_FILE: needs `manager_key_file` beside it, which is not set"
)]
#[case::key_without_certificate(
    with_files().env("NEBULA_MANAGER_CERT_FILE", ""),
    "`manager_key_file` from environment NEBULA_MANAGER_KEY_FILE: needs `manager_cert_file` beside it, which is not set"
)]
#[case::no_file(
    with_files().env("NEBULA_MANAGER_CA_FILE", "gone.pem"),
    "`manager_ca_file` from environment NEBULA_MANAGER_CA_FILE: file gone.pem cannot be read: no such file"
)]
#[case::authorities_that_are_none(
    with_files().file("ca.pem", "-----BEGIN NOTHING-----"),
    "`manager_ca_file` from environment NEBULA_MANAGER_CA_FILE: file ca.pem holds no certificate in PEM form (`-----BEGIN CERTIFICATE-----`)"
)]
#[case::certificate_in_another_form(
    with_files().file("device.pem", [0x30, 0x82]),
    "`manager_cert_file` from environment NEBULA_MANAGER_CERT_FILE: file device.pem holds no certificate in PEM form (`-----BEGIN CERTIFICATE-----`)"
)]
#[case::certificate_in_place_of_the_key(
    with_files().file("device.key", Pem::new().certificate),
    "`manager_key_file` from environment NEBULA_MANAGER_KEY_FILE: file device.key holds no private key in PEM form (`-----BEGIN PRIVATE KEY-----`)"
)]
#[case::key_with_a_passphrase(
    with_files().file("device.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"),
    "`manager_key_file` from environment NEBULA_MANAGER_KEY_FILE: file device.key holds a private key with a passphrase; take it off with `openssl pkey -in IN -out OUT`"
)]
#[case::key_of_another_certificate(
    with_files().file("device.key", Pem::new().key),
    "`manager_key_file` from environment NEBULA_MANAGER_KEY_FILE: file device.key holds another key than that of the certificate in device.pem"
)]
#[case::certificate_that_nobody_would_see(
    with_files().env("NEBULA_MANAGER_PROTOCOL", "http"),
    "`manager_cert_file` from environment NEBULA_MANAGER_CERT_FILE: is presented by `https` alone, and the manager is reached by `http`: set `nebula_manager_protocol` or `nebula_manager_uri`"
)]
#[case::enrollment_beside_a_token(
    Given::worker().env("NEBULA_ENROLLMENT_TOKEN", "e").env("NEBULA_MANAGER_AUTH_TOKEN", "t"),
    "`enrollment_token` from environment NEBULA_ENROLLMENT_TOKEN: cannot stand beside `nebula_manager_auth_token`: an enrolled device asks as itself, so take that out"
)]
#[case::enrollment_beside_a_user(
    Given::worker()
        .env("NEBULA_ENROLLMENT_TOKEN", "e")
        .env("NEBULA_MANAGER_AUTH_USER", "ann")
        .env("NEBULA_MANAGER_AUTH_PASSWORD", "p"),
    "`enrollment_token` from environment NEBULA_ENROLLMENT_TOKEN: cannot stand beside `nebula_manager_auth_user`: an enrolled device asks as itself, so take that out"
)]
#[case::enrollment_token_that_no_header_carries(
    Given::worker().env("NEBULA_ENROLLMENT_TOKEN_FILE", "token").file("token", "s3cret\n\n"),
    "`enrollment_token` from environment NEBULA_ENROLLMENT_TOKEN_FILE: expected printable ASCII characters without spaces around them, which is what a header can carry"
)]
fn worker_is_refused(#[case] given: Given, #[case] words: &str) {
    assert_eq!(given.worker_refusal(), words);
}

#[test]
fn all_that_is_wrong_with_the_files_is_told_at_once() {
    let refused = with_files().file("ca.pem", "").file("device.key", "").worker_refusal();
    assert!(refused.contains("`manager_ca_file`"), "{refused}");
    assert!(refused.contains("`manager_key_file`"), "{refused}");
}

#[test]
fn enrollment_token_comes_from_its_file() {
    let given = Given::worker().env("NEBULA_ENROLLMENT_TOKEN_FILE", "token").file("token", "e\n");
    let config = given.load_worker().expect("starts");
    let ManagerCredentials::Enroll(token) = config.manager_credentials else {
        panic!("{:?}", config.manager_credentials)
    };
    assert_eq!(token.expose(), "e");
}
