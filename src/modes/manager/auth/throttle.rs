//! How often somebody may be wrong.
//!
//! Only failures count: a place is taken before a check and given back when it was right. There
//! are two counts, and both must have a place: of an address, and of a user name as one address
//! knows it. So whoever guesses one user's password behind the same NAT as a fleet does not keep
//! the fleet's user out, and a fleet whose devices all come at once is only told to wait a moment.
//! Credentials that were valid before never come here.
//!
//! Whoever sprays names uses up the count of their address, and of all who share it. Two things
//! help: a token whose id is somebody's has a count of its own, because nobody knows the ids of
//! others; and behind a proxy that is trusted, the address is that of the proxy's client.

use super::super::buckets::{Bucket, Buckets, Rule};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

/// A provider's NAT has people who mistype; a guesser gets one try a second.
const ADDRESS: Rule = Rule { burst: 30.0, seconds: 1.0 };
/// A person mistypes a few times.
const USER: Rule = Rule { burst: 10.0, seconds: 5.0 };
/// Counts that are kept. One that is dropped starts again from its burst, which helps a guesser
/// with a hundred thousand addresses, whom the turns of hashing limit anyway.
const MAX_COUNTS: u64 = 100_000;
/// After this time without a failure a count is full again anyway.
const IDLE: Duration = Duration::from_secs(60);

/// The counts.
#[derive(Debug)]
pub(super) struct Throttle(Buckets);

/// A place that was taken in both counts. Dropped, it is used up.
#[derive(Debug)]
pub(super) struct Place {
    taken: Vec<Arc<Bucket>>,
}

/// No place, and when there will be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct TooMany {
    pub(in super::super) retry_after: Duration,
}

impl Throttle {
    pub(super) fn new() -> Self {
        Self(Buckets::new(MAX_COUNTS, IDLE))
    }

    /// Takes a place for a user name, or what else is guessed, from an address. A subject that
    /// nobody can guess does not use up its address.
    pub(super) fn take(
        &self,
        address: IpAddr,
        subject: &str,
        is_guessable: bool,
    ) -> Result<Place, TooMany> {
        let address = network(address);
        // The rarer one first, so that a user that is guessed does not use up its address.
        let mut counts = vec![self.0.of((address, subject), USER)];
        if is_guessable {
            counts.push(self.0.of(address, ADDRESS));
        }
        let mut place = Place { taken: Vec::with_capacity(counts.len()) };
        for count in counts {
            if let Err(retry_after) = count.take(1.0) {
                place.give_back();
                return Err(TooMany { retry_after });
            }
            place.taken.push(count);
        }
        Ok(place)
    }
}

impl Place {
    /// It was right after all.
    pub(super) fn give_back(self) {
        for count in &self.taken {
            count.give_back(1.0);
        }
    }
}

/// What one customer of a provider has: an IPv4 address, or an IPv6 network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}
