//! What gateways keep in common: who is in which room, each gateway's part under a lease. A backend keeps; it decides
//! nothing.

use futures::future::BoxFuture;

use super::{Listing, Member};
use crate::clock::Millis;
use crate::error::LogError;
use crate::room::RoomId;

/// A change of this gateway's part of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Forget what is kept of this gateway's part: this is all of it, or its beginning.
    pub whole: bool,
    /// The version of the part before it, unless `whole`. Another one means that something was lost.
    pub before: u64,
    /// The version of the part after it.
    pub version: u64,
    /// Who came.
    pub add: Vec<Member>,
    /// Sessions that left.
    pub remove: Vec<String>,
    /// How long the part is kept without being renewed.
    pub lease: Millis,
}

/// What is to be read of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Name the members if there are no more than this.
    pub most: usize,
    /// If there are more, name so many of them nevertheless.
    pub partial: bool,
}

/// What was read of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Its members.
    pub listing: Listing,
    /// The version of this gateway's own part, if there is one.
    pub own_version: Option<u64>,
    /// In how many milliseconds the first lease of another gateway ends.
    pub first_expiry: Option<Millis>,
}

/// A backend. An operation that was not answered may have been done.
pub trait Roster: Send + Sync + 'static {
    /// Changes this gateway's part and renews its lease. `false`: the part was not the one that it changes, and nothing
    /// was done.
    fn write<'a>(&'a self, room: &'a RoomId, write: &'a Write) -> BoxFuture<'a, Result<bool, LogError>>;

    /// Renews the lease of this gateway's part at the same cost however many members it has. `false`: the part is not
    /// the one that was written.
    fn renew<'a>(&'a self, room: &'a RoomId, version: u64, lease: Millis) -> BoxFuture<'a, Result<bool, LogError>>;

    /// Who is in a room, by all gateways whose lease has not ended.
    fn read<'a>(&'a self, room: &'a RoomId, query: Query) -> BoxFuture<'a, Result<Reading, LogError>>;
}
