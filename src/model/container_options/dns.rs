//! Names and addresses: further lines of `/etc/hosts`, and name servers.

use super::super::fields::{Unknown, clip, list, string};
use super::OptionValue;
use super::identity::is_host_name;
use serde::Serialize;
use serde_json::Value;
use std::net::IpAddr;

/// The most further hosts.
pub const MAX_EXTRA_HOSTS: usize = 100;
/// The most name servers: resolvers look at no fourth.
pub const MAX_DNS_SERVERS: usize = 3;
/// The longest name of a host in the whole of DNS.
const MAX_HOST_LENGTH: usize = 253;
/// Docker puts the device's own address in its place.
const HOST_GATEWAY: &str = "host-gateway";

/// Hosts in Docker's form, `NAME:ADDRESS`, in the order given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ExtraHosts(pub Vec<String>);

impl OptionValue for ExtraHosts {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        let Value::Object(map) = value else {
            return list(value, MAX_EXTRA_HOSTS, |item| {
                let text = string(item)?;
                // Compose's sign, and its older one. An IPv6 address has colons of its own.
                let (name, address) =
                    text.split_once('=').or_else(|| text.split_once(':')).unwrap_or((&text, ""));
                host(name, address)
            })
            .map(Self);
        };
        if map.len() > MAX_EXTRA_HOSTS {
            let count = map.len();
            return Err(format!("must have at most {MAX_EXTRA_HOSTS} hosts, this has {count}"));
        }
        let read = |(name, address): (String, Value)| host(&name, &string(address)?);
        map.into_iter().map(read).collect::<Result<_, String>>().map(Self)
    }
}

fn host(name: &str, address: &str) -> Result<String, String> {
    if name.len() > MAX_HOST_LENGTH || !is_host_name(name) {
        return Err(format!("`{}` is no host name: expected HOST=ADDRESS", clip(name)));
    }
    if address == HOST_GATEWAY {
        return Ok(format!("{name}:{address}"));
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bare.unwrap_or(address).parse::<IpAddr>() {
        Ok(ip) if bare.is_none() || ip.is_ipv6() => Ok(format!("{name}:{ip}")),
        _ => {
            let shown = clip(address);
            Err(format!("`{name}` must have an IP address or {HOST_GATEWAY}, got `{shown}`"))
        }
    }
}

/// Name servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Dns(pub Vec<IpAddr>);

impl OptionValue for Dns {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        let one = |item| {
            let text = string(item)?;
            text.parse().map_err(|_| format!("`{}` is no IP address", clip(&text)))
        };
        match value {
            Value::String(_) => Ok(Self(vec![one(value)?])),
            value => list(value, MAX_DNS_SERVERS, one).map(Self),
        }
    }
}
