//! The connections of a shard by slot: a pointer each, where a slab of boxes takes two.

use super::rooms::Slot;

/// Things by slot. A slot that is free is the next one to be taken.
pub(super) struct Table<T> {
    places: Vec<Option<Box<T>>>,
    free: Vec<Slot>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Table<T> {
    /// The slot that the next thing gets.
    pub(super) fn next(&self) -> Slot {
        self.free.last().copied().unwrap_or(self.places.len() as Slot)
    }

    /// Puts a thing into the slot that `next` told.
    pub(super) fn insert(&mut self, thing: T) -> &mut T {
        let slot = self.next();
        if self.free.pop().is_none() {
            self.places.push(None);
        }
        self.places[slot as usize].insert(Box::new(thing))
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&T> {
        self.places.get(slot as usize)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.places.get_mut(slot as usize)?.as_deref_mut()
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Box<T>> {
        let thing = self.places.get_mut(slot as usize)?.take();
        if thing.is_some() {
            self.free.push(slot);
        }
        if self.free.len() == self.places.len() {
            // None is left: what many needed is given back.
            *self = Self::default();
        }
        thing
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.places.iter().enumerate().filter_map(|(slot, thing)| Some((slot as Slot, thing.as_deref()?)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().filter_map(|thing| thing.as_deref_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_holds_what_a_map_would(orders in proptest::collection::vec((any::<bool>(), 0u32..12), 0..200)) {
            let (mut table, mut model) = (Table::default(), BTreeMap::new());
            for (number, (add, slot)) in orders.into_iter().enumerate() {
                if add {
                    let slot = table.next();
                    *table.insert(0) = number;
                    prop_assert_eq!(model.insert(slot, number), None, "a slot in use is not given away");
                } else {
                    prop_assert_eq!(table.remove(slot).map(|thing| *thing), model.remove(&slot));
                }
                prop_assert!(table.iter().eq(model.iter().map(|(slot, number)| (*slot, number))));
                prop_assert!(table.iter_mut().eq(model.values_mut()));
                prop_assert_eq!(table.get(slot), model.get(&slot));
                prop_assert_eq!(table.get_mut(slot), model.get_mut(&slot));
                prop_assert!(table.places.len() <= 200 && (!model.is_empty() || table.places.is_empty()));
            }
        }
    }
}
