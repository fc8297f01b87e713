//! How much each caller may still ask for: a token bucket for each, as many as there is room for.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use parking_lot::Mutex;

use crate::clock::Millis;
use crate::session::Bucket;

/// Most callers that are remembered.
const MOST: usize = 65_536;

/// Whose allowance it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A user, by its token, wherever it is.
    User(String),
    /// Everybody at an address.
    Address(IpAddr),
}

impl Key {
    /// An IPv6 user has a whole /64 to come from.
    pub(super) fn of(address: IpAddr) -> Self {
        Self::Address(match address {
            IpAddr::V6(address) if address.to_ipv4_mapped().is_none() => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
            }
            IpAddr::V6(_) | IpAddr::V4(_) => address.to_canonical(),
        })
    }
}

struct Account {
    bucket: Bucket,
    used: Millis,
}

/// The allowances of all callers.
#[derive(Default)]
pub(super) struct Allowance {
    accounts: Mutex<HashMap<Key, Account>>,
}

impl Allowance {
    /// Takes `count`, or nothing. What is more than a burst can never be had at once.
    pub(super) fn take(&self, key: &Key, count: usize, rate: f64, burst: f64, now: Millis) -> bool {
        let mut accounts = self.accounts.lock();
        if accounts.len() >= MOST && !accounts.contains_key(key) {
            forget(&mut accounts, rate, burst, now);
        }
        let account = accounts.entry(key.clone()).or_insert_with(|| Account { bucket: Bucket::full(now), used: now });
        account.used = now;
        let mut after = account.bucket;
        let may = (0..count).all(|_| after.take(rate, burst, now));
        if may {
            account.bucket = after;
        }
        may
    }
}

/// Forgets those whose allowance is whole again; all, when that is nobody: better than to refuse strangers.
fn forget(accounts: &mut HashMap<Key, Account>, rate: f64, burst: f64, now: Millis) {
    let whole_after = (burst / rate * 1000.0) as Millis;
    accounts.retain(|_, account| account.used + whole_after > now);
    if accounts.len() >= MOST {
        accounts.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(last: u8) -> Key {
        Key::of(IpAddr::from([127, 0, 0, last]))
    }

    #[test]
    fn each_caller_has_its_own_allowance_at_below_and_above() {
        let allowance = Allowance::default();
        assert!(allowance.take(&key(1), 2, 1.0, 3.0, 0));
        assert!(!allowance.take(&key(1), 2, 1.0, 3.0, 0), "two of one is refused");
        assert!(allowance.take(&key(1), 1, 1.0, 3.0, 0), "and costs nothing");
        assert!(!allowance.take(&key(1), 1, 1.0, 3.0, 0));
        assert!(allowance.take(&key(2), 3, 1.0, 3.0, 0));
        assert!(allowance.take(&key(1), 1, 1.0, 3.0, 1000), "it refills");
    }

    #[test]
    fn the_number_of_accounts_is_bounded() {
        let allowance = Allowance::default();
        for number in 0..=MOST as u32 {
            allowance.take(&Key::of(IpAddr::from(number.to_be_bytes())), 1, 1.0, 3.0, 0);
        }
        assert!(allowance.accounts.lock().len() <= MOST);
    }

    #[test]
    fn an_ipv6_network_shares_one_allowance() {
        let of = |text: &str| Key::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
