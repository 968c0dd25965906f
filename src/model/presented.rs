//! Credentials as a request presents them: the value of its `Authorization` header, read.

use super::user::MAX_SECRET_BYTES;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// With padding or without: clients differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The two forms in which credentials come. They are secrets: `Debug` shows the form alone.
#[derive(Clone, PartialEq, Eq)]
pub enum Presented {
    /// A user's name and password.
    Basic {
        /// What stands before the first colon.
        user: String,
        /// The rest, which may be no UTF-8 and hold further colons.
        password: Vec<u8>,
    },
    /// A token.
    Bearer(Vec<u8>),
}

impl Presented {
    /// Reads a header's value; none when it is neither of the two forms. A secret with a NUL is
    /// nobody's: bcrypt would take it for another one.
    pub fn parse(value: &[u8]) -> Option<Self> {
        Self::read(value).filter(|presented| !presented.secret().contains(&0))
    }

    /// The same as bcrypt sees them: cut where it stops reading. Credentials that it cannot tell
    /// apart are one and the same to whoever remembers them.
    #[must_use]
    pub fn as_hashed(mut self) -> Self {
        match &mut self {
            Self::Basic { password, .. } => password.truncate(MAX_SECRET_BYTES),
            Self::Bearer(token) => token.truncate(MAX_SECRET_BYTES),
        }
        self
    }

    /// The password or the token.
    pub fn secret(&self) -> &[u8] {
        match self {
            Self::Basic { password, .. } => password,
            Self::Bearer(token) => token,
        }
    }

    fn read(value: &[u8]) -> Option<Self> {
        let space = value.iter().position(|byte| *byte == b' ')?;
        let (scheme, rest) = value.split_at(space);
        let rest = rest.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"Basic") {
            let mut pair = BASE64.decode(rest).ok()?;
            let colon = pair.iter().position(|byte| *byte == b':')?;
            let password = pair.split_off(colon + 1);
            pair.pop();
            Some(Self::Basic { user: String::from_utf8(pair).ok()?, password })
        } else if scheme.eq_ignore_ascii_case(b"Bearer") && !rest.is_empty() {
            Some(Self::Bearer(rest.to_owned()))
        } else {
            None
        }
    }
}

impl std::fmt::Debug for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Basic { .. } => f.write_str("Basic ***"),
            Self::Bearer(_) => f.write_str("Bearer ***"),
        }
    }
}
