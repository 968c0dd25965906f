//! Authorities and certificates of one's own, and what is said of a way without TLS.

use crate::program::User;
use crate::server::{Request, Server, json, reply};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use std::sync::Arc;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("made")
}

fn signed(authority: &Authority, name: &str) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    (params.signed_by(&key, authority).expect("signed"), key)
}

fn answer(_: &Request) -> crate::server::Answer {
    json(200, r#"{"api_available": true, "apps": []}"#)
}

/// A manager that lets in whoever has a certificate of this authority, which its own is of as well.
fn manager(authority: &Authority) -> Server {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).expect("an authority");
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .expect("a verifier");
    let (certificate, key) = signed(authority, "localhost");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a certificate");
    Server::start_tls_with(config, answer)
}

/// A user's own files in the home folder: `ca.pem`, `anna.pem` and `anna.key`.
fn write_files(user: &User, trusted: &Authority, own: &Authority) {
    let (certificate, key) = signed(own, "anna");
    for (name, text) in [
        ("ca.pem", trusted.pem()),
        ("anna.pem", certificate.pem()),
        ("anna.key", key.serialize_pem()),
    ] {
        std::fs::write(user.path(name), text).expect("written");
    }
}

const FILES: [&str; 6] =
    ["--ca-file", "ca.pem", "--cert-file", "anna.pem", "--key-file", "anna.key"];

#[test]
fn authority_and_certificate_of_ones_own_are_used() {
    let authority = authority("ours");
    let server = manager(&authority);
    let user = User::of(&server);
    write_files(&user, &authority, &authority);
    user.ctl(&[&["ping"], &FILES[..]].concat()).ok();
    let from_environment = user
        .with("NEBULA_CA_FILE", "ca.pem")
        .with("NEBULA_CERT_FILE", "anna.pem")
        .with("NEBULA_KEY_FILE", "anna.key");
    from_environment.ctl(&["ping"]).ok();
}

#[test]
fn without_its_authority_or_a_certificate_that_it_knows_a_manager_is_not_reached() {
    let authority = authority("ours");
    let server = manager(&authority);
    let user = User::of(&server);
    write_files(&user, &authority, &self::authority("another"));
    insta::assert_snapshot!(
        "tls_own_certificate_missing",
        user.ctl(&["ping", "--ca-file", "ca.pem"]).seen()
    );
    let outcome = user.ctl(&[&["ping"], &FILES[..]].concat());
    insta::assert_snapshot!("tls_own_certificate_unknown", outcome.seen());
    // One of the same name is told apart by its signature alone.
    write_files(&user, &authority, &self::authority("ours"));
    let err = user.ctl(&[&["ping"], &FILES[..]].concat()).fails(1);
    assert!(err.contains("it does not accept our certificate"), "{err}");
    assert!(server.requests().is_empty());
}

#[test]
fn login_keeps_where_the_files_are() {
    let authority = authority("ours");
    let server = manager(&authority);
    let user = User::new();
    write_files(&user, &authority, &authority);
    let login = ["login", "--url", &server.url, "--token", "t0ken"];
    user.ctl(&[&login, &FILES[..]].concat()).ok();
    let kept = std::fs::read_to_string(user.login_file()).expect("kept");
    for (key, file) in [("ca_file", "ca.pem"), ("cert_file", "anna.pem"), ("key_file", "anna.key")]
    {
        let line = format!("{key} = \"{}\"", user.path(file).display());
        assert!(kept.lines().any(|kept| kept == line), "{line} is not in {kept}");
    }
    user.ctl(&["apps", "list"]).ok();
    // They are for that manager, and are looked at anew each time.
    std::fs::remove_file(user.path("anna.key")).expect("removed");
    insta::assert_snapshot!("tls_kept_file_gone", user.ctl(&["apps", "list"]).seen());
    let other = Server::start(answer);
    user.ctl(&["apps", "list", "--url", &other.url]).ok();
}

#[test]
fn files_that_cannot_be_used_are_named_with_their_option() {
    let user = User::new();
    std::fs::write(user.path("ca.pem"), "no PEM").expect("written");
    let seen = user.ctl(&["ping", "--ca-file", "ca.pem", "--cert-file", "anna.pem"]).seen();
    insta::assert_snapshot!("tls_files_refused", seen);
}

#[test]
fn plain_http_over_a_network_is_warned_of_once_and_where_credentials_are_sent() {
    // Reached as a proxy, under a name that is not this machine's.
    let server = Server::start(|_| reply(200, "Content-Type: application/json\r\n", "{}"));
    let user = User::new().with("http_proxy", &server.url).with("NEBULA_URL", "http://far.invalid");
    assert_eq!(user.ctl(&["ping"]).err, "");
    let user = user.with("NEBULA_TOKEN", "t0ken");
    insta::assert_snapshot!("plain_http", user.ctl(&["apps", "delete", "web", "--yes"]).seen());
    let near = User::of(&server).with("NEBULA_TOKEN", "t0ken");
    assert!(!near.ctl(&["apps", "delete", "web", "--yes"]).err.contains("plain http"));
}
