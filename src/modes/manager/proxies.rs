//! Whose address a request comes from, when it came through proxies.
//!
//! Invariant: nobody can say so of themselves. Only what a trusted proxy added counts, so the list
//! is read from its end, and ends at the first address that is no trusted proxy's.

use hyper::HeaderMap;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The networks of trusted proxies.
#[derive(Debug)]
pub(super) struct Proxies(Vec<IpNet>);

impl Proxies {
    pub(super) const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// The address of a request that came over a connection from `peer`.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        let lines: Vec<&str> =
            headers.get_all(FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok()).collect();
        for word in lines.iter().flat_map(|line| line.split(',')).rev() {
            // What is no address was not written by a proxy of ours.
            let Some(address) = address(word.trim()) else { break };
            client = address;
            if !self.trusts(client) {
                break;
            }
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// An address, with a port or without.
fn address(word: &str) -> Option<IpAddr> {
    let bare = word.parse().or_else(|_| word.parse().map(|with_port: SocketAddr| with_port.ip()));
    bare.ok().map(|address: IpAddr| address.to_canonical())
}
