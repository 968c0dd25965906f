//! The value of an `Authorization` header.
//!
//! What is read can be written again and read as the same; nothing of it is printed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nebula::model::{Presented, token_id};

/// Any bytes, as a header may carry them.
pub fn check(bytes: &[u8]) {
    let Some(presented) = Presented::parse(bytes) else { return };
    let debug = format!("{presented:?}");
    assert!(matches!(&*debug, "Basic ***" | "Bearer ***"), "Debug shows `{debug}`");
    let again = match &presented {
        Presented::Basic { user, password } => {
            assert!(!user.contains(':'), "the name goes past the first colon");
            let pair = [user.as_bytes(), b":", password].concat();
            format!("Basic {}", STANDARD.encode(pair)).into_bytes()
        }
        Presented::Bearer(token) => {
            if let Some(id) = std::str::from_utf8(token).ok().and_then(token_id) {
                assert_eq!(id.len(), 16, "the id of a token");
            }
            [b"Bearer ", &**token].concat()
        }
    };
    assert!(Presented::parse(&again) == Some(presented), "{debug} is not read back as it was");
}
