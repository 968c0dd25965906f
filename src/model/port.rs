//! The ports of an app: where its first replica is reached, and which port that is inside.
//!
//! The forms are `80`, `{"80": "8080"}`, and with an address of the device and a protocol
//! `{"127.0.0.1:8080": "80/udp"}`, `{"[::1]:8080": "80"}`.

use super::fields::{Fields, clip};
use serde::ser::{Serialize, SerializeMap};
use serde_json::{Value, json};
use std::net::IpAddr;

/// The most ports one app may declare.
const MAX_PORTS: usize = 100;

/// A port of the first replica on the device, and the container's port behind it. Replica `i`
/// binds `host + i - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortMapping {
    /// The device's address that it is bound to; none is all of them.
    pub address: Option<IpAddr>,
    /// The port on the device, of replica 1.
    pub host: u16,
    /// The port in the container.
    pub container: u16,
    /// On both sides.
    pub protocol: Protocol,
}

/// What a port speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Protocol {
    /// The usual one.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
    /// Streams of messages.
    Sctp,
}

impl Protocol {
    /// As Docker writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// Reads Docker's word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Sctp].into_iter().find(|known| known.as_str() == word)
    }
}

/// A port of the device, as one container binds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// The port.
    pub port: u16,
    /// What it speaks.
    pub protocol: Protocol,
    /// The address; none is all of the device's.
    pub address: Option<IpAddr>,
}

impl HostPort {
    /// A port of the usual protocol on all addresses.
    pub fn tcp(port: u16) -> Self {
        Self { port, protocol: Protocol::Tcp, address: None }
    }

    /// Can the two not be bound at the same time?
    pub fn collides(&self, other: &Self) -> bool {
        let meets = match (self.address, other.address) {
            (Some(one), Some(two)) => one == two || one.is_unspecified() || two.is_unspecified(),
            _ => true,
        };
        self.port == other.port && self.protocol == other.protocol && meets
    }
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(address) => write!(f, "{address}:")?,
            None => {}
        }
        write!(f, "{}", self.port)?;
        match self.protocol {
            Protocol::Tcp => Ok(()),
            other => write!(f, "/{}", other.as_str()),
        }
    }
}

impl std::fmt::Display for PortMapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The protocol is said once, at the end.
        let host = HostPort { protocol: Protocol::Tcp, ..self.host_port() };
        write!(f, "{host}:{}", self.container)?;
        match self.protocol {
            Protocol::Tcp => Ok(()),
            other => write!(f, "/{}", other.as_str()),
        }
    }
}

impl PortMapping {
    fn tcp(host: u16, container: u16) -> Self {
        Self { address: None, host, container, protocol: Protocol::Tcp }
    }

    /// What a hash of a container's shape is made from. What was the only form once has stayed as it
    /// was, so that no container changes with the version of nebula.
    pub(super) fn shape(&self) -> Value {
        match (self.protocol, self.address) {
            (Protocol::Tcp, None) => json!([self.host, self.container]),
            (protocol, address) => {
                json!([self.host, self.container, protocol.as_str(), address])
            }
        }
    }

    /// What it binds on the device.
    pub fn host_port(&self) -> HostPort {
        HostPort { port: self.host, protocol: self.protocol, address: self.address }
    }
}

/// Why ports are refused. The first two are the original's words; clients compare them.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("can only be a list containing integers or dicts")]
    Form,
    #[error("invalid port")]
    Range,
    #[error("must have at most {MAX_PORTS} ports, this has {0}")]
    TooMany(usize),
    #[error("`{0}` is no address of a device with a port: expected PORT, IPV4:PORT or [IPV6]:PORT")]
    Address(String),
    #[error("`{0}` has an unknown protocol, expected PORT/tcp, PORT/udp or PORT/sctp")]
    Protocol(String),
}

/// One item of the list as it was written, so that a reply shows what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    /// `80`: the same port on both sides.
    Same(u16),
    /// `{"127.0.0.1:80": "8080/udp"}`.
    Pairs(Vec<Pair>),
}

/// A pair with both sides as they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pair {
    mapping: PortMapping,
    host: String,
    container: Value,
}

/// The declared ports, in the order and the form they were given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StartingPorts(Vec<Item>);

impl StartingPorts {
    /// All mappings, in the order given.
    pub fn mappings(&self) -> Vec<PortMapping> {
        let mut all = Vec::new();
        for item in &self.0 {
            match item {
                Item::Same(port) => all.push(PortMapping::tcp(*port, *port)),
                Item::Pairs(pairs) => all.extend(pairs.iter().map(|pair| pair.mapping)),
            }
        }
        all
    }

    /// Reads the list; a refusal is remembered in `fields` in the contract's two forms.
    pub(super) fn take(fields: &mut Fields) -> Option<Self> {
        let mut is_wrong_form = false;
        let ports = fields.take("starting_ports", |value| {
            Self::decode(&value).map_err(|problem| {
                is_wrong_form = matches!(problem, Problem::Form);
                problem.to_string()
            })
        });
        if is_wrong_form {
            fields.refuse_ports_form(&Problem::Form.to_string());
        }
        ports
    }

    fn decode(value: &Value) -> Result<Self, Problem> {
        let items = value.as_array().ok_or(Problem::Form)?;
        let ports = Self(items.iter().map(Item::decode).collect::<Result<_, _>>()?);
        let count = ports.mappings().len();
        if count > MAX_PORTS { Err(Problem::TooMany(count)) } else { Ok(ports) }
    }

    /// What cannot run on any device with this many replicas: two bindings of one device port, or
    /// a port past the last.
    pub fn check(&self, replicas: u32) -> Result<(), String> {
        let mut ports: Vec<HostPort> = self.mappings().iter().map(PortMapping::host_port).collect();
        ports.sort_unstable();
        let span = replicas.max(1);
        for (index, port) in ports.iter().enumerate() {
            let number = u32::from(port.port);
            if number + span - 1 > u32::from(u16::MAX) {
                return Err(format!("{replicas} containers from port {port} up pass port 65535"));
            }
            for other in &ports[index + 1..] {
                let reached = u32::from(other.port) - number;
                if reached < span && port.collides(&HostPort { port: port.port, ..*other }) {
                    return Err(if reached == 0 {
                        format!("port {other} is given twice")
                    } else {
                        format!(
                            "{replicas} containers from port {port} up reach port {other}, which is given as well"
                        )
                    });
                }
            }
        }
        Ok(())
    }
}

impl Item {
    fn decode(value: &Value) -> Result<Self, Problem> {
        match value {
            Value::Number(_) => port(value).map(Item::Same),
            Value::Object(pairs) => {
                pairs.iter().map(Pair::decode).collect::<Result<_, _>>().map(Item::Pairs)
            }
            _ => Err(Problem::Form),
        }
    }
}

impl Pair {
    fn decode((host, container): (&String, &Value)) -> Result<Self, Problem> {
        let (address, host_port) = match host.rsplit_once(':') {
            Some((address, port)) => (Some(device_address(address, host)?), port),
            None => (None, host.as_str()),
        };
        let (container_port, protocol) = match container.as_str().and_then(|t| t.split_once('/')) {
            Some((port, word)) => {
                let unknown = || Problem::Protocol(clip(word));
                (&Value::from(port), Protocol::parse(word).ok_or_else(unknown)?)
            }
            None => (container, Protocol::Tcp),
        };
        let mapping = PortMapping {
            address,
            host: port(&Value::from(host_port))?,
            container: port(container_port)?,
            protocol,
        };
        Ok(Self { mapping, host: host.clone(), container: container.clone() })
    }
}

/// Reads an address of the device, an IPv6 one in brackets.
fn device_address(text: &str, whole: &str) -> Result<IpAddr, Problem> {
    let in_brackets = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match in_brackets {
        Some(inner) => inner.parse().map(IpAddr::V6).ok(),
        None => text.parse().map(IpAddr::V4).ok(),
    };
    // Nothing is reached at an address of many.
    address.filter(|a| !a.is_multicast()).ok_or_else(|| Problem::Address(clip(whole)))
}

/// Reads a port given as a number or as decimal text.
fn port(value: &Value) -> Result<u16, Problem> {
    let number = match value {
        // A whole number that no port is as long as is kept as a float.
        Value::Number(number) if number.as_f64().is_some_and(|n| n.abs() >= 65_536.0) => None,
        Value::Number(number) if number.is_f64() => return Err(Problem::Form),
        Value::Number(number) => number.as_u64(),
        Value::String(text) => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(Problem::Form);
            }
            text.parse::<u64>().ok()
        }
        _ => return Err(Problem::Form),
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|port| *port > 0)
        .ok_or(Problem::Range)
}

impl Serialize for StartingPorts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

impl Serialize for Item {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Item::Same(port) => serializer.serialize_u16(*port),
            Item::Pairs(pairs) => {
                let mut map = serializer.serialize_map(Some(pairs.len()))?;
                for pair in pairs {
                    map.serialize_entry(&pair.host, &pair.container)?;
                }
                map.end()
            }
        }
    }
}
