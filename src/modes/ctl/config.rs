//! Who asks whom: the settings of one run.
//!
//! Strongest first: flag, environment, configuration file, kept login, default. The kept login
//! stands below the others, because it is what an earlier command left behind, while the others
//! were written down on purpose; a login that they shadow says so.
//!
//! Invariants: kept credentials go to the manager that they were checked against, and to no other.
//! Of two ways to say who asks, a token or a name and password, the stronger layer's is taken.

use super::failure::Failure;
use super::login_file::{self, Login};
use super::output::Format;
use crate::client::{CertificateFiles, Credentials, TlsFiles, TlsKeys};
use crate::config::{
    Environment, FILES, Inputs, Layer, Secret, Settings, Source, read_file, tables,
};
use clap::{Args, ValueHint};
use std::path::PathBuf;

/// The keys of what is trusted and presented in TLS.
const TLS: TlsKeys = TlsKeys { ca_file: "ca_file", cert_file: "cert_file", key_file: "key_file" };

/// What the help page of `ctl` ends with.
pub(super) const HELP: &str = "\
Settings are taken from the first of: the option; its environment variable; the [ctl] table of the
configuration file; the login that `nebula ctl login` keeps, whose credentials go to its own URL
only; the default.";

/// Options of every command. Their values go through the same check as the environment's and the
/// file's.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Connection options")]
pub(super) struct Flags {
    #[arg(long, global = true, value_name = "URL", value_hint = ValueHint::Url)]
    #[arg(help = "The manager's URL [default: http://127.0.0.1:80] [env: NEBULA_URL]")]
    url: Option<String>,
    #[arg(long, global = true, value_name = "NAME")]
    #[arg(help = "The user's name [env: NEBULA_USERNAME]")]
    username: Option<String>,
    #[arg(long, global = true, value_name = "SECRET", value_parser = secret)]
    #[arg(help = "The password, for all of this machine to see [env: NEBULA_PASSWORD]")]
    password: Option<Secret<String>>,
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(help = "A file that holds the password [env: NEBULA_PASSWORD_FILE]")]
    password_file: Option<String>,
    #[arg(long, global = true, value_name = "SECRET", value_parser = secret)]
    #[arg(help = "A token instead of name and password, as visible [env: NEBULA_TOKEN]")]
    token: Option<Secret<String>>,
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(help = "A file that holds the token [env: NEBULA_TOKEN_FILE]")]
    token_file: Option<String>,
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(help = "PEM file of authorities to trust beside the system's [env: NEBULA_CA_FILE]")]
    ca_file: Option<String>,
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(help = "PEM file of a certificate to present [env: NEBULA_CERT_FILE]")]
    cert_file: Option<String>,
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(help = "PEM file of its private key [env: NEBULA_KEY_FILE]")]
    key_file: Option<String>,
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum)]
    #[arg(help = "For people, or as the API replied [default: table] [env: NEBULA_OUTPUT]")]
    output: Option<Format>,
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(help = "The configuration file [default: ./nebula.toml, then /etc/nebula/nebula.toml]")]
    config: Option<PathBuf>,
}

#[expect(clippy::unnecessary_wraps, reason = "the form of clap's value parsers")]
fn secret(text: &str) -> Result<Secret<String>, std::convert::Infallible> {
    Ok(Secret::new(text.to_owned()))
}

/// The settings of one run.
#[derive(Debug)]
pub(super) struct Config {
    /// The manager's URL, and where that came from.
    pub url: String,
    pub url_source: String,
    /// Who asks, and where that came from; none when nobody said.
    pub asker: Asker,
    pub asker_source: Option<String>,
    /// Whom to trust to be the manager, and what certificate to present.
    pub tls: TlsFiles,
    /// The manager that the kept login is for, when it is another one.
    pub login_elsewhere: Option<String>,
    /// How to print.
    pub format: Format,
}

/// Who asks. A name without its password, or the reverse, is enough for `login` alone.
#[derive(Debug)]
pub(super) enum Asker {
    Known(Credentials),
    Username(String),
    Password(Secret<String>),
    /// As the kept login says; `login` asks anew.
    Kept(Credentials),
}

/// Puts the layers together.
pub(super) fn resolve(flags: Flags, environment: &Environment) -> Result<Config, Failure> {
    let config = flags.config.clone();
    let flags = flags.by_name();
    let files = FILES.map(PathBuf::from);
    let inputs = Inputs {
        flags: &flags,
        environment,
        config: config.as_deref(),
        files: &files,
        read: &read_file,
    };
    let mut settings = Settings::load(&tables::CTL, &inputs).map_err(Failure::configuration)?;
    let login = login_file::read()?;
    let (url, url_source) = match &login {
        Some((file, login)) if !settings.is_given("url") => (login.url.clone(), login_source(file)),
        _ => {
            let url = settings.url("url").map(|url| url.as_str().trim_end_matches('/').to_owned());
            (url.unwrap_or_default(), source(&settings, "url"))
        }
    };
    let (mut asker, mut asker_source) = asker(&mut settings);
    let mut tls = TlsFiles::from_settings(&mut settings, &TLS);
    tls.check(&mut settings, &TLS, &read_file);
    let mut login_elsewhere = None;
    if let Some((_, login)) = &login
        && login.url.trim_end_matches('/') == url
    {
        tls = beside(tls, login);
    }
    if let (Some((file, login)), None) = (login, &asker_source) {
        if login.url.trim_end_matches('/') == url {
            asker_source = Some(login_source(&file));
            asker = Asker::Kept(credentials(login)?);
        } else {
            login_elsewhere = Some(login.url);
        }
    }
    let json = settings.text("output").as_deref() == Some("json");
    let format = if json { Format::Json } else { Format::Table };
    let config = Config { url, url_source, asker, asker_source, tls, login_elsewhere, format };
    settings.finish(Some(config)).map_err(Failure::configuration)
}

/// The files that were given, and of a kept login those that were not.
fn beside(given: TlsFiles, login: &Login) -> TlsFiles {
    let pair = login.cert_file.clone().zip(login.key_file.clone());
    let kept = pair.map(|(cert_file, key_file)| CertificateFiles { cert_file, key_file });
    TlsFiles {
        ca_file: given.ca_file.or_else(|| login.ca_file.clone()),
        certificate: given.certificate.or(kept),
    }
}

/// Who asks by the flags, the environment and the file.
fn asker(settings: &mut Settings) -> (Asker, Option<String>) {
    let layer = |name| settings.source(name).map_or(Layer::Default, Source::layer);
    let (token, pair) = (layer("token"), layer("username").max(layer("password")));
    if token == Layer::Default && pair == Layer::Default {
        return (Asker::Known(Credentials::None), None);
    }
    if token == pair {
        settings.refuse("token", "expected a token, or a name and password, found both");
    }
    if token > pair {
        let token = settings.token("token").map_or(Credentials::None, Credentials::Bearer);
        return (Asker::Known(token), Some(source(settings, "token")));
    }
    let named = if settings.is_given("username") { "username" } else { "password" };
    let source = Some(source(settings, named));
    let asker = match (settings.text("username"), settings.secret("password")) {
        (Some(name), None) => Asker::Username(name),
        (None, Some(password)) => Asker::Password(password),
        _ => {
            let pair = settings.credentials("username", "password");
            let basic = |pair: crate::config::Credentials| Credentials::Basic {
                user: pair.user,
                password: pair.password,
            };
            Asker::Known(pair.map_or(Credentials::None, basic))
        }
    };
    (asker, source)
}

/// Where a key's value came from, in words.
fn source(settings: &Settings, name: &str) -> String {
    settings.source(name).map(ToString::to_string).unwrap_or_default()
}

fn login_source(file: &std::path::Path) -> String {
    format!("the login kept in {}", file.display())
}

fn credentials(login: Login) -> Result<Credentials, Failure> {
    match login {
        Login { token: Some(token), username: None, password: None, .. } => {
            Ok(Credentials::Bearer(Secret::new(token)))
        }
        Login { token: None, username: Some(user), password: Some(password), .. } => {
            Ok(Credentials::Basic { user, password: Secret::new(password) })
        }
        _ => Err(login_file::unusable()),
    }
}

impl Flags {
    /// The values that were given, in the form in which the layers are laid.
    fn by_name(self) -> crate::config::Flags {
        let shown = |secret: Option<Secret<String>>| secret.map(|secret| secret.expose().clone());
        let format = self.output.map(|format| match format {
            Format::Table => "table".to_owned(),
            Format::Json => "json".to_owned(),
        });
        [
            ("url", self.url),
            ("username", self.username),
            ("password", shown(self.password)),
            ("password-file", self.password_file),
            ("token", shown(self.token)),
            ("token-file", self.token_file),
            ("ca-file", self.ca_file),
            ("cert-file", self.cert_file),
            ("key-file", self.key_file),
            ("output", format),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
    }
}
