//! What several properties ask.

use nebula::model::Invalid;
use serde::Serialize;
use serde_json::{Map, Value};

/// The longest reason of a refusal in bytes. A client's text is cut before it is repeated; what is
/// more is a text that was not.
const LONGEST_REASON: usize = 1_500;
/// The most fields of a refusal: a body has a hundred keys at most, and some more may be missing.
const MOST_FIELDS: usize = 120;

/// A refusal names a field, and is told in words that neither are empty nor repeat a body.
pub(super) fn refused(invalid: &Invalid) {
    assert!(!invalid.fields.is_empty(), "a refusal without a field");
    assert!(invalid.fields.len() <= MOST_FIELDS, "{} fields are refused", invalid.fields.len());
    for (field, reason) in &invalid.fields {
        assert!(!reason.is_empty(), "`{field}` is refused without a reason");
        assert!(field.len() <= LONGEST_REASON, "a field of {} bytes is repeated", field.len());
        assert!(reason.len() <= LONGEST_REASON, "`{field}`: {} bytes of reason", reason.len());
    }
}

/// An object as it comes back to whoever reads it: a store, a client or a device.
pub(super) fn printed(object: &impl Serialize) -> Map<String, Value> {
    let bytes = serde_json::to_vec(object).expect("what was accepted can be printed");
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(map)) => map,
        other => panic!("{} is read back as {other:?}", String::from_utf8_lossy(&bytes)),
    }
}

/// A text in which nothing is left of the given one but its form: every letter and digit is `x`.
pub(super) fn masked(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { 'x' } else { c }).collect()
}
