//! What a rebalance asks of this gateway, and how many clients that tells to move just now. Pure.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::shard::ConnectionId;

/// Time for which an order holds, in milliseconds. Who gave it repeats it as long as it is to hold: with an operator that is
/// gone, or that this gateway hears nothing of, nobody is told to move.
pub(super) const HOLDS: Millis = 10_000;
/// Time within which a client that was told to move is expected to be gone, in milliseconds. After that it is taken to stay.
pub(super) const PATIENCE: Millis = 30_000;
/// Orders that follow each other within this time, in milliseconds, are parts of one rebalance: who came during it has moved
/// here because of it, perhaps, and is left alone. An operator that begins anew knows nothing of that.
const ONE: Millis = 300_000;

/// What the caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wish {
    /// Connections that this gateway is to keep.
    pub keep: usize,
    /// Clients told per second; at least 1.
    pub connections_per_second: u32,
    /// Only who has been here for so many seconds is told: others may just have moved here.
    #[serde(default)]
    pub settled_for_seconds: u64,
}

/// An order that holds, and who was told because of it or of one before.
#[derive(Debug, Default)]
pub(super) struct Order {
    wish: Option<Wish>,
    /// When the rebalance began that this is a part of.
    began: Option<Millis>,
    until: Millis,
    /// Whether somebody acts by it.
    pub(super) followed: bool,
    looked_at: Millis,
    credit: f64,
    /// Who was told and is still here, and when that was.
    told: HashMap<ConnectionId, Millis>,
}

impl Order {
    /// Takes an order, or takes one again. Returns whether there was none.
    pub(super) fn take(&mut self, wish: Wish, now: Millis) -> bool {
        let new = self.in_force(now).is_none();
        if new {
            (self.looked_at, self.credit) = (now, 0.0);
            self.began = self.began.filter(|_| now < self.until + ONE).or(Some(now));
        }
        (self.wish, self.until) = (Some(wish), now + HOLDS);
        new
    }

    /// The order is withdrawn.
    pub(super) fn withdraw(&mut self, now: Millis) {
        if self.wish.take().is_some() {
            self.until = self.until.min(now);
        }
    }

    /// What is asked now.
    pub(super) fn in_force(&self, now: Millis) -> Option<Wish> {
        self.wish.filter(|_| now < self.until)
    }

    /// How many clients may be told now, of `connections`: no more than are too many when those have left that were told
    /// lately, and no faster than was asked. What was not used is saved for a second at most.
    pub(super) fn grant(&mut self, connections: usize, now: Millis) -> usize {
        let Some(wish) = self.in_force(now) else { return 0 };
        let rate = f64::from(wish.connections_per_second.max(1));
        let since = now.saturating_sub(self.looked_at) as f64 / 1000.0;
        self.looked_at = now;
        self.credit = (self.credit + rate * since).min(rate);
        let leaving = self.told.values().filter(|at| now < **at + PATIENCE).count();
        let surplus = connections.saturating_sub(wish.keep).saturating_sub(leaving);
        surplus.min(self.credit as usize)
    }

    /// That client is told now.
    pub(super) fn tell(&mut self, id: ConnectionId, now: Millis) {
        self.credit -= 1.0;
        self.told.insert(id, now);
    }

    /// Whether a client may be told that came at `opened_at`: nobody is told twice.
    pub(super) fn may_tell(&self, id: ConnectionId, opened_at: Millis, now: Millis) -> bool {
        let settled = self.in_force(now).map_or(0, |wish| wish.settled_for_seconds * 1000);
        let before = self.began.is_some_and(|began| opened_at <= began);
        before && opened_at + settled <= now && !self.told.contains_key(&id)
    }

    /// A connection has ended. Returns whether its client was told to move.
    pub(super) fn closed(&mut self, id: ConnectionId) -> bool {
        self.told.remove(&id).is_some()
    }

    /// Clients that were told and are still here.
    pub(super) fn outstanding(&self) -> usize {
        self.told.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WISH: Wish = Wish { keep: 100, connections_per_second: 10, settled_for_seconds: 5 };

    fn told(order: &mut Order, connections: usize, now: Millis) -> usize {
        let granted = order.grant(connections, now);
        let first = order.outstanding() as u64 + 1000 * now;
        (0..granted as u64).for_each(|number| order.tell(first + number, now));
        granted
    }

    #[test]
    fn as_many_are_told_as_are_too_many_and_no_faster_than_asked() {
        let mut order = Order::default();
        assert_eq!(told(&mut order, 500, 0), 0, "nothing is asked");
        assert!(order.take(WISH, 1000));
        assert_eq!(told(&mut order, 500, 1000), 0, "no burst at the beginning");
        assert_eq!(told(&mut order, 500, 1100), 1);
        assert_eq!(told(&mut order, 500, 1550), 4, "half of one is kept");
        assert_eq!(told(&mut order, 500, 1600), 1);
        assert!(!order.take(WISH, 9000));
        assert_eq!(told(&mut order, 500, 9000), 10, "a second's worth at most");
        assert_eq!(told(&mut order, 118, 10_000), 2, "16 of the 118 are leaving");
        assert_eq!(told(&mut order, 100, 11_000), 0);
    }

    #[test]
    fn who_was_told_and_stays_is_counted_among_those_that_stay() {
        let mut order = Order::default();
        order.take(WISH, 0);
        assert_eq!(told(&mut order, 105, 1000), 5);
        order.take(WISH, PATIENCE);
        assert_eq!(told(&mut order, 105, PATIENCE), 0);
        assert_eq!(told(&mut order, 105, PATIENCE + 1000), 5, "others are told instead");
        assert_eq!(order.outstanding(), 10);
    }

    #[test]
    fn an_order_that_is_not_repeated_ends() {
        let mut order = Order::default();
        order.take(WISH, 0);
        assert_eq!(order.in_force(HOLDS - 1), Some(WISH));
        assert_eq!((order.in_force(HOLDS), order.grant(500, HOLDS)), (None, 0));
        assert!(order.take(WISH, HOLDS), "it is a new one then");
        order.withdraw(HOLDS + 500);
        assert_eq!((order.in_force(HOLDS + 500), order.grant(500, HOLDS + 1000)), (None, 0));
    }

    #[test]
    fn who_came_lately_or_was_told_is_not_told() {
        let mut order = Order::default();
        order.take(WISH, 20_000);
        assert!(order.may_tell(1, 15_000, 20_000));
        assert!(!order.may_tell(1, 15_001, 20_000));
        order.tell(1, 20_000);
        assert!(!order.may_tell(1, 15_000, 20_000));
        assert!(order.closed(1) && !order.closed(1));
        assert_eq!(order.outstanding(), 0);
    }

    #[test]
    fn who_came_during_a_rebalance_stays_in_what_follows_of_it() {
        let mut order = Order::default();
        let settled = Wish { settled_for_seconds: 0, ..WISH };
        order.take(settled, 1000);
        assert!(order.may_tell(1, 1000, 2000) && !order.may_tell(1, 1001, 2000));
        order.withdraw(3000);
        order.take(settled, 3000 + ONE - 1);
        assert!(!order.may_tell(1, 1001, 3000 + ONE - 1), "another part of the same");
        order.withdraw(400_000);
        order.take(settled, 400_000 + ONE);
        assert!(order.may_tell(1, 1001, 400_000 + ONE), "a new one");
    }

    #[test]
    fn an_order_says_what_it_means_and_nothing_else() {
        let wish = serde_json::from_str::<Wish>(r#"{"keep":1,"connectionsPerSecond":2}"#).unwrap();
        assert_eq!(wish, Wish { keep: 1, connections_per_second: 2, settled_for_seconds: 0 });
        for bad in ["{}", r#"{"keep":-1,"connectionsPerSecond":2}"#, r#"{"keep":1,"connectionsPerSecond":2,"x":1}"#] {
            assert!(serde_json::from_str::<Wish>(bad).is_err(), "{bad}");
        }
    }
}
