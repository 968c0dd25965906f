//! Where the manager is and who asks, checked before the first request.

use super::{ClientError, Credentials, error};
use base64::Engine as _;
use reqwest::Url;
use reqwest::header::HeaderValue;

/// Checks a base URL.
pub(super) fn base_url(text: &str) -> Result<Url, ClientError> {
    let refuse = |reason| Err(ClientError::Url { url: error::without_userinfo(text), reason });
    let url = match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
        _ => return refuse("expected http://HOST[:PORT][/PREFIX] or https://..."),
    };
    if !url.username().is_empty() || url.password().is_some() {
        // They would show in process lists, in logs and in every error.
        return refuse("it must not hold a user or password, give them separately");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("it must not have a query or a fragment");
    }
    Ok(url)
}

/// The header that carries the credentials, marked so that no `Debug` prints it.
pub(super) fn authorization(credentials: &Credentials) -> Result<Option<HeaderValue>, ClientError> {
    let text = match credentials {
        Credentials::None => return Ok(None),
        Credentials::Basic { user, .. } if user.contains(':') => {
            return Err(ClientError::Credentials { reason: "a user's name cannot hold a colon" });
        }
        Credentials::Basic { user, password } => {
            let pair = format!("{user}:{}", password.expose());
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        }
        Credentials::Bearer(token) => format!("Bearer {}", token.expose()),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| ClientError::Credentials {
        reason: "a token cannot hold line breaks or other control characters",
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// True when no proxy can reach it.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
