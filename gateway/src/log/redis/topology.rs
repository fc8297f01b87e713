//! Which node of a Redis Cluster serves which slots, and what a change of that means. Pure.

use std::collections::{BTreeMap, BTreeSet};

use redis::Value;

use super::keys::SLOTS;
use super::place::Place;

/// Who serves what, at one moment (`CLUSTER SLOTS`, <https://redis.io/docs/latest/commands/cluster-slots/>).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Topology {
    masters: BTreeMap<Place, BTreeSet<Place>>,
    ranges: Vec<(u16, u16, Place)>,
}

/// Some slots of a Cluster; every slot where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slots(Option<Vec<(u16, u16)>>);

impl Slots {
    /// Everything, of any kind of Redis.
    pub(super) const ALL: Self = Self(None);

    pub(super) fn contains(&self, slot: impl FnOnce() -> u16) -> bool {
        let Some(ranges) = &self.0 else { return true };
        let slot = slot();
        ranges.iter().any(|(from, to)| (*from..=*to).contains(&slot))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.as_ref().is_some_and(Vec::is_empty)
    }
}

/// What became of slots whose node changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// They were moved, with everything.
    pub(super) moved: Slots,
    /// A replica took over: what was acknowledged last may be lost.
    pub(super) lost: Slots,
}

impl Topology {
    /// Reads an answer of `asked`; `None` where it makes no sense.
    pub(super) fn parse(answer: Value, asked: &Place) -> Option<Self> {
        let mut topology = Self::default();
        for range in list(answer)? {
            let mut items = list(range)?.into_iter();
            let (from, to) = (number(&items.next()?)?, number(&items.next()?)?);
            let mut nodes = items.filter_map(|node| place(node, asked));
            let master = nodes.next()?;
            topology.masters.entry(master.clone()).or_default().extend(nodes);
            topology.ranges.push((from, to, master));
        }
        topology.ranges.sort();
        (!topology.ranges.is_empty()).then_some(topology)
    }

    /// Who serves a slot.
    pub(super) fn owner(&self, slot: u16) -> Option<&Place> {
        let after = self.ranges.partition_point(|(from, ..)| *from <= slot);
        let (_, to, place) = self.ranges.get(after.checked_sub(1)?)?;
        (slot <= *to).then_some(place)
    }

    pub(super) fn masters(&self) -> impl Iterator<Item = &Place> {
        self.masters.keys()
    }

    pub(super) fn is_master(&self, place: &Place) -> bool {
        self.masters.contains_key(place)
    }

    /// Whether every slot is served.
    pub(super) fn is_complete(&self) -> bool {
        self.ranges.iter().map(|(from, to, _)| u32::from(to - from) + 1).sum::<u32>() == u32::from(SLOTS)
    }

    /// The slots of one master.
    pub(super) fn slots_of(&self, place: &Place) -> Slots {
        let own = self.ranges.iter().filter(|(.., owner)| owner == place);
        Slots(Some(own.map(|(from, to, _)| (*from, *to)).collect()))
    }

    /// What has changed since `before`.
    pub(super) fn since(&self, before: &Self) -> Change {
        let (mut moved, mut lost) = (Vec::new(), Vec::new());
        for slot in 0..SLOTS {
            let (Some(old), Some(new)) = (before.owner(slot), self.owner(slot)) else { continue };
            if old != new {
                let ranges = if self.took_over(before, old, new) { &mut lost } else { &mut moved };
                extend(ranges, slot);
            }
        }
        Change { moved: Slots(Some(moved)), lost: Slots(Some(lost)) }
    }

    /// Whether `new` took over from `old`, and not just received some of its slots.
    fn took_over(&self, before: &Self, old: &Place, new: &Place) -> bool {
        before.masters.get(old).is_some_and(|replicas| replicas.contains(new))
            || (!before.is_master(new) && !self.is_master(old))
    }
}

fn extend(ranges: &mut Vec<(u16, u16)>, slot: u16) {
    match ranges.last_mut() {
        Some((_, to)) if *to + 1 == slot => *to = slot,
        _ => ranges.push((slot, slot)),
    }
}

fn list(value: Value) -> Option<Vec<Value>> {
    if let Value::Array(items) = value { Some(items) } else { None }
}

fn number(value: &Value) -> Option<u16> {
    if let Value::Int(number) = value { u16::try_from(*number).ok().filter(|slot| *slot < SLOTS) } else { None }
}

/// Host and port of a node. A node that does not know its own host leaves it out: it is the one that was asked.
fn place(value: Value, asked: &Place) -> Option<Place> {
    let mut items = list(value)?.into_iter();
    let host = match items.next()? {
        Value::BulkString(host) => String::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        _ => String::new(),
    };
    let Value::Int(port) = items.next()? else { return None };
    let host = if ["", "?"].contains(&host.as_str()) { asked.host.clone() } else { host };
    Some(Place { host, port: u16::try_from(port).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(port: u16) -> Place {
        Place { host: "h".into(), port }
    }

    /// Ranges with the ports of their master and its replicas.
    fn topology(ranges: &[(u16, u16, &[u16])]) -> Topology {
        let node = |port: &u16| Value::Array(vec![Value::BulkString(b"h".to_vec()), Value::Int((*port).into())]);
        let range = |(from, to, ports): &(u16, u16, &[u16])| {
            let numbers = [from, to].map(|slot| Value::Int(i64::from(*slot)));
            Value::Array(numbers.into_iter().chain(ports.iter().map(node)).collect())
        };
        Topology::parse(Value::Array(ranges.iter().map(range).collect()), &place(9)).unwrap()
    }

    #[test]
    fn slots_have_owners() {
        let some = topology(&[(0, 99, &[1]), (200, 16_383, &[2, 3])]);
        for (slot, port) in [(0, Some(1)), (99, Some(1)), (100, None), (199, None), (200, Some(2)), (16_383, Some(2))] {
            assert_eq!(some.owner(slot), port.map(place).as_ref(), "{slot}");
        }
        assert!(!some.is_complete() && topology(&[(0, 9, &[1]), (10, 16_383, &[2])]).is_complete());
        assert!(some.slots_of(&place(1)).contains(|| 99) && !some.slots_of(&place(1)).contains(|| 200));
    }

    #[test]
    fn a_failover_is_told_from_a_move() {
        let before = topology(&[(0, 99, &[1, 3]), (100, 16_383, &[2, 4])]);
        let lost = |after: &Topology, slot| after.since(&before).lost.contains(|| slot);
        let moved = |after: &Topology, slot| after.since(&before).moved.contains(|| slot);
        let failed_over = topology(&[(0, 99, &[3, 1]), (100, 16_383, &[2, 4])]);
        assert!(lost(&failed_over, 50) && !moved(&failed_over, 50) && !lost(&failed_over, 100));
        let resharded = topology(&[(0, 49, &[1, 3]), (50, 16_383, &[2, 4])]);
        assert!(moved(&resharded, 50) && !lost(&resharded, 50) && !moved(&resharded, 49));
        let grown = topology(&[(0, 49, &[1, 3]), (50, 99, &[7]), (100, 16_383, &[2, 4])]);
        assert!(moved(&grown, 50) && !lost(&grown, 50));
        let unknown = topology(&[(0, 99, &[8]), (100, 16_383, &[2, 4])]);
        assert!(lost(&unknown, 50), "a master that is gone, and one that nobody knew");
        let none = before.since(&before);
        assert!(none.moved.is_empty() && none.lost.is_empty());
    }

    #[test]
    fn a_node_without_a_host_is_the_one_that_was_asked() {
        let node = Value::Array(vec![Value::Nil, Value::Int(7)]);
        let answer = Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(1), node])]);
        let topology = Topology::parse(answer, &Place { host: "asked".into(), port: 1 }).unwrap();
        assert_eq!(topology.owner(0).unwrap().to_string(), "asked:7");
    }

    #[test]
    fn nonsense_is_no_topology() {
        let bad = |value| Topology::parse(value, &place(1)).is_none();
        assert!(bad(Value::Nil) && bad(Value::Array(vec![])) && bad(Value::Array(vec![Value::Int(1)])));
        let far = Value::Array(vec![Value::Int(0), Value::Int(16_384), Value::Nil]);
        assert!(bad(Value::Array(vec![far])));
    }
}
