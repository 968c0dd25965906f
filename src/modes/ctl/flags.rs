//! Values of flags, read as the fields of a request's body.
//!
//! Invariant: a value is taken exactly when the model's decoder takes it, so that what passes here
//! passes at the manager, and what does not fails at once with the option, the value and why.

use super::failure::Failure;
use super::option_flags;
use crate::client::{Noun, Object};
use crate::model::{AccountName, AppFields, CronJobFields, Invalid, Name, TimeZone, Unknown};
use serde_json::{Map, Number, Value, json};

/// Checks the whole body of an app or a cron job as the manager will, where fields depend on each
/// other. `is_new` bodies must also make a whole one.
pub(super) fn check(noun: Noun, body: &Object, name: &str, is_new: bool) -> Result<(), Failure> {
    let body = body.clone();
    let checked = if noun == Noun::CronJob {
        let fields = CronJobFields::decode(body, Some(name), Unknown::Refuse);
        fields.and_then(|fields| if is_new { fields.into_spec().map(drop) } else { Ok(()) })
    } else {
        let fields = AppFields::decode(body, Some(name), Unknown::Refuse);
        fields.and_then(|fields| if is_new { fields.into_spec().map(drop) } else { Ok(()) })
    };
    checked.map_err(|invalid| refused(&invalid))
}

/// A refusal of the model, which names fields, with the options that set them.
pub(super) fn refused(invalid: &Invalid) -> Failure {
    let options = [
        ("`docker_image`", "--image"),
        ("`schedule`", "--schedule"),
        ("`starting_ports`", "--port"),
        ("`containers_per`", "--per"),
        ("`env_vars`", "--env"),
        ("`networks`", "--network"),
        ("`volumes`", "--volume"),
        ("`devices`", "--device"),
        ("`logging`", "the logging"),
        ("`password`", "the new password"),
        ("`token`", "the new token"),
    ];
    let options = options.into_iter().map(|(field, option)| (field.to_owned(), option.to_owned()));
    let in_options = |text: String, (field, option): (String, String)| {
        // The field stands at the head of its reason; within a reason the words may mean another
        // thing.
        text.replace(&format!("{field}: "), &format!("{option}: "))
    };
    Failure::usage(options.chain(option_flags::options()).fold(invalid.to_string(), in_options))
}

/// A name that Docker takes as the stem of a container's.
pub(super) fn name(text: &str) -> Result<String, String> {
    Name::new(text).map(String::from).map_err(|error| error.to_string())
}

/// A name of a user or a user group.
pub(super) fn account_name(text: &str) -> Result<String, String> {
    AccountName::new(text).map(|name| name.as_str().to_owned())
}

/// An image reference.
pub(super) fn image(text: &str) -> Result<String, String> {
    of_an_app("docker_image", text.into()).map(|()| text.to_owned())
}

/// When a cron job runs.
pub(super) fn schedule(text: &str) -> Result<String, String> {
    let body = Map::from_iter([("schedule".to_owned(), text.into())]);
    let checked = CronJobFields::decode(body, None, Unknown::Refuse);
    checked.map(|_| text.to_owned()).map_err(reason)
}

/// A time zone, or none.
pub(super) fn timezone(text: &str) -> Result<Value, String> {
    if text == "none" { Ok(Value::Null) } else { TimeZone::parse(text).map(|_| text.into()) }
}

/// A port of the device and one of the container, as Docker and Compose write them:
/// `[ADDRESS:]HOST[:CONTAINER][/PROTOCOL]`.
pub(super) fn port(text: &str) -> Result<Value, String> {
    // The model's words are the API's, about lists and dicts.
    let reason = || {
        "expected ports from 1 to 65535, as in `8080`, `80:8080` or `127.0.0.1:53:53/udp`"
            .to_owned()
    };
    let value = port_value(text).ok_or_else(reason)?;
    of_an_app("starting_ports", json!([value])).map(|()| value).map_err(|_| reason())
}

fn port_value(text: &str) -> Option<Value> {
    let (sides, protocol) = text.split_once('/').map_or((text, None), |(p, word)| (p, Some(word)));
    // An IPv6 address has colons of its own, in brackets.
    let address_end = sides.rfind(']').map_or(0, |end| end + 1);
    let (address, rest) = sides.split_at(address_end);
    let parts: Vec<&str> =
        rest.strip_prefix(':').filter(|_| address_end > 0).unwrap_or(rest).split(':').collect();
    let (address, host, container) = match (address, parts.as_slice()) {
        ("", [host]) => (None, *host, None),
        ("", [address, host]) if address.contains('.') => (Some(*address), *host, None),
        ("", [host, container]) => (None, *host, Some(*container)),
        ("", [address, host, container]) => (Some(*address), *host, Some(*container)),
        (address, [host]) => (Some(address), *host, None),
        (address, [host, container]) => (Some(address), *host, Some(*container)),
        _ => return None,
    };
    if address.is_none() && container.is_none() && protocol.is_none() {
        // The contract's form for "the same on both sides" is a number.
        return Some(host.parse::<Number>().map_or_else(|_| host.into(), Value::Number));
    }
    let container = container.unwrap_or(host);
    let outside = address.map_or_else(|| host.to_owned(), |address| format!("{address}:{host}"));
    let inside =
        protocol.map_or_else(|| container.to_owned(), |word| format!("{container}/{word}"));
    Some(json!({ outside: inside }))
}

pub(super) fn per(text: &str) -> Result<Value, String> {
    let Some((key, number)) = text.split_once('=') else {
        return Err("expected KEY=NUMBER, as in `server=2`".to_owned());
    };
    let Ok(number) = number.parse::<Number>() else {
        return Err(format!("`{key}` must be a number, as in `{key}=1`"));
    };
    let value = json!({ key: number });
    of_an_app("containers_per", value.clone()).map(|()| value)
}

pub(super) fn volume(text: &str) -> Result<Value, String> {
    of_an_app("volumes", json!([text])).map(|()| text.into())
}

pub(super) fn network(text: &str) -> Result<Value, String> {
    of_an_app("networks", json!([text])).map(|()| text.into())
}

pub(super) fn device(text: &str) -> Result<Value, String> {
    of_an_app("devices", json!([text])).map(|()| text.into())
}

/// One part of how an app is updated.
pub(super) fn update_part(part: &str, value: Value) -> Result<Value, String> {
    let prefix = format!("`{part}`: ");
    of_an_app("update_config", json!({ part: value.clone() }))
        .map(|()| value)
        .map_err(|reason| reason.strip_prefix(&prefix).unwrap_or(&reason).to_owned())
}

/// Decodes one field as the manager will; the error is the model's reason. What a cron job has as
/// well is decoded by the same code there.
pub(super) fn of_an_app(field: &str, value: Value) -> Result<(), String> {
    let body = Map::from_iter([(field.to_owned(), value)]);
    AppFields::decode(body, None, Unknown::Refuse).map(drop).map_err(reason)
}

/// The reason of a refusal of one field.
pub(super) fn reason(invalid: Invalid) -> String {
    let reason = invalid.fields.into_values().next().unwrap_or_default();
    // There is one item, and its value stands in the message.
    reason.strip_prefix("item 1: ").map_or_else(|| reason.clone(), str::to_owned)
}
