//! The addresses for LoadBalancer Services: who has which. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::layout::{LOAD_BALANCER_COUNT, LOAD_BALANCERS};

/// Who has which address.
#[derive(Debug)]
pub(super) struct Pool {
    free: BTreeSet<Ipv4Addr>,
    taken: BTreeMap<String, Ipv4Addr>,
}

impl Default for Pool {
    /// Neither the first nor the last address of the range is given out.
    fn default() -> Self {
        let first = LOAD_BALANCERS.to_bits();
        let all = (1..LOAD_BALANCER_COUNT - 1).map(|offset| Ipv4Addr::from_bits(first + offset));
        Self { free: all.collect(), taken: BTreeMap::new() }
    }
}

impl Pool {
    /// The owner's address: the one that it has, else the first that is free; none when all are taken.
    pub(super) fn assign(&mut self, owner: &str) -> Option<Ipv4Addr> {
        if let Some(address) = self.taken.get(owner) {
            return Some(*address);
        }
        let address = self.free.pop_first()?;
        self.taken.insert(owner.to_owned(), address);
        Some(address)
    }

    /// Takes note of an address that was assigned before our time. One that is not ours, or another's, is not kept.
    pub(super) fn adopt(&mut self, owner: &str, address: Ipv4Addr) {
        if !self.taken.contains_key(owner) && self.free.remove(&address) {
            self.taken.insert(owner.to_owned(), address);
        }
    }

    /// Takes the address back.
    pub(super) fn release(&mut self, owner: &str) {
        self.free.extend(self.taken.remove(owner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_keeps_its_address_and_shares_it_with_nobody() {
        let mut pool = Pool::default();
        let first = pool.assign("default/one").unwrap();
        let second = pool.assign("default/two").unwrap();
        assert_eq!(first.to_string(), "198.18.32.1");
        assert_ne!(first, second);
        assert_eq!(pool.assign("default/one"), Some(first));
    }

    #[test]
    fn a_released_address_is_given_out_again() {
        let mut pool = Pool::default();
        let first = pool.assign("default/one");
        pool.release("default/one");
        assert_eq!(pool.assign("default/two"), first);
    }

    #[test]
    fn only_free_addresses_of_the_range_are_adopted() {
        let mut pool = Pool::default();
        pool.adopt("default/one", Ipv4Addr::new(198, 18, 32, 7));
        pool.adopt("default/two", Ipv4Addr::new(198, 18, 32, 7));
        pool.adopt("default/three", Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(pool.assign("default/one"), Some(Ipv4Addr::new(198, 18, 32, 7)));
        assert_ne!(pool.assign("default/two"), Some(Ipv4Addr::new(198, 18, 32, 7)));
        assert_eq!(pool.assign("default/three"), Some(Ipv4Addr::new(198, 18, 32, 2)));
    }

    #[test]
    fn a_full_pool_gives_nothing() {
        let mut pool = Pool::default();
        for number in 0..LOAD_BALANCER_COUNT - 2 {
            assert!(pool.assign(&format!("default/{number}")).is_some());
        }
        assert_eq!(pool.assign("default/one-more"), None);
    }
}
