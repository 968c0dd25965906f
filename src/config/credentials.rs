//! Who a mode is to other programs.

use crate::model::Secret;

/// A user's name and password.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The name, without a colon.
    pub user: String,
    /// The password, not empty.
    pub password: Secret<String>,
}
