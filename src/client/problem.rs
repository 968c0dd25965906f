//! What stands between a request and an answer, in words that do not change from try to try.
//!
//! rustls names the moment of its check in what it says of a certificate's dates, and Rust's names
//! of the cases. Here each is one sentence that stays the same for as long as the cause does, so
//! that a caller which tells a cause once does.

use chrono::{DateTime, Utc};
use rustls::{AlertDescription, CertificateError};
use std::error::Error;
use std::time::{Duration, SystemTime};

/// What kind of obstacle it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Problem {
    /// The host is there, but nothing listens.
    Refused,
    /// The host's name is unknown.
    UnknownHost,
    /// The certificate is of an authority that is not trusted here.
    UnknownAuthority,
    /// The certificate is an authority's own, as `openssl req -x509` makes one.
    AuthorityAsServer,
    /// The certificate has expired, by this machine's clock.
    Expired,
    /// The certificate is not valid yet, by this machine's clock.
    NotYetValid,
    /// The certificate is for other names.
    WrongName,
    /// Whoever answers does not accept the certificate that was presented, or wants one.
    OwnCertificate,
    /// TLS fails otherwise.
    Tls,
    /// What answers does not speak TLS.
    NotTls,
    /// What answers does not speak HTTP, as a port for TLS does when it is asked without.
    NotHttp,
    /// Anything else.
    Other,
}

impl Problem {
    /// What to do about it, where that follows from the obstacle alone. `now` is what this
    /// machine's clock says.
    pub fn advice(self, now: SystemTime) -> Option<String> {
        let clock = || in_words(now);
        Some(match self {
            Self::AuthorityAsServer => "give the manager a certificate that is not an \
                                        authority's own (`basicConstraints=CA:FALSE`)"
                .to_owned(),
            Self::Expired => format!(
                "this machine's clock says {}: set it if that is wrong, else renew the certificate",
                clock()
            ),
            Self::NotYetValid => format!(
                "this machine's clock says {}: set it if that is wrong, else wait or replace the \
                 certificate",
                clock()
            ),
            Self::WrongName => "reach the manager by a name that its certificate is for, or give \
                                it one for this name"
                .to_owned(),
            Self::NotTls => {
                "does the manager speak TLS at all? its URL begins with http:// if not".to_owned()
            }
            Self::NotHttp => {
                "does the manager speak TLS? its URL begins with https:// if so".to_owned()
            }
            // What is to be done about certificates of one's own stands in the mode's keys.
            Self::UnknownAuthority
            | Self::OwnCertificate
            | Self::Refused
            | Self::UnknownHost
            | Self::Tls
            | Self::Other => return None,
        })
    }
}

/// The obstacle that an error is, or that lies beneath it, with its sentence where we have one.
pub(super) fn find(error: &(dyn Error + 'static)) -> Option<(Problem, Option<String>)> {
    std::iter::successors(Some(error), |error| (*error).source()).find_map(|error| {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(of_tls(tls));
        }
        if let Some(http) = error.downcast_ref::<hyper::Error>() {
            let words = "what answers there does not speak HTTP".to_owned();
            return http.is_parse().then_some((Problem::NotHttp, Some(words)));
        }
        error.downcast_ref().and_then(of_io)
    })
}

/// An I/O error's `source` skips the error that it wraps, and TLS's are wrapped more than once.
fn of_io(error: &std::io::Error) -> Option<(Problem, Option<String>)> {
    if error.kind() == std::io::ErrorKind::ConnectionRefused {
        return Some((Problem::Refused, None));
    }
    let inner = error.get_ref()?;
    let tls = inner.downcast_ref::<rustls::Error>().map(of_tls);
    tls.or_else(|| of_io(inner.downcast_ref()?))
}

fn of_tls(error: &rustls::Error) -> (Problem, Option<String>) {
    match error {
        rustls::Error::InvalidMessage(_) => {
            (Problem::NotTls, Some("what answers there does not speak TLS".to_owned()))
        }
        rustls::Error::InvalidCertificate(error) => of_certificate(error),
        rustls::Error::AlertReceived(alert) => of_alert(*alert),
        _ => (Problem::Tls, None),
    }
}

/// What the other side says of our certificate; in the words of TLS it says "unknown" of most.
fn of_alert(alert: AlertDescription) -> (Problem, Option<String>) {
    let words = match alert {
        AlertDescription::CertificateExpired => "it says that our certificate has expired",
        AlertDescription::CertificateRevoked => "it says that our certificate is revoked",
        AlertDescription::UnknownCA => "it does not know the authority of our certificate",
        AlertDescription::CertificateRequired => "it wants a certificate, and we present none",
        // `DecryptError` is of a certificate that is signed by another authority of the same name.
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::DecryptError
        | AlertDescription::CertificateUnknown => "it does not accept our certificate",
        _ => return (Problem::Tls, None),
    };
    (Problem::OwnCertificate, Some(words.to_owned()))
}

fn of_certificate(error: &CertificateError) -> (Problem, Option<String>) {
    let at = |time: &rustls::pki_types::UnixTime| {
        in_words(SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs()))
    };
    let (problem, words) = match error {
        CertificateError::UnknownIssuer => (
            Problem::UnknownAuthority,
            "its certificate is of an authority that is not trusted here".to_owned(),
        ),
        // As of an authority that was made anew under its old name.
        CertificateError::BadSignature => (
            Problem::UnknownAuthority,
            "its certificate is of an authority that only has the name of one that is trusted here"
                .to_owned(),
        ),
        CertificateError::Expired => (Problem::Expired, "its certificate has expired".to_owned()),
        CertificateError::ExpiredContext { not_after, .. } => {
            (Problem::Expired, format!("its certificate expired at {}", at(not_after)))
        }
        CertificateError::NotValidYet => {
            (Problem::NotYetValid, "its certificate is not valid yet".to_owned())
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            (Problem::NotYetValid, format!("its certificate is valid only from {}", at(not_before)))
        }
        CertificateError::NotValidForName => {
            (Problem::WrongName, "its certificate is for another name".to_owned())
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<String> = presented.iter().map(|name| plain_name(name)).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            let expected = expected.to_str();
            (Problem::WrongName, format!("its certificate is for {names}, not for `{expected}`"))
        }
        // The verifier's own name for it; rustls has none.
        CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            (Problem::AuthorityAsServer, "its certificate is an authority's own".to_owned())
        }
        _ => return (Problem::Tls, None),
    };
    (problem, Some(words))
}

/// A name that a certificate holds; the verifier writes `DnsName("a.example")`.
fn plain_name(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')'));
    format!("`{}`", inner.unwrap_or(name).trim_matches('"'))
}

/// A time to the second, in UTC, as hints and log lines show it.
pub fn in_words(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
