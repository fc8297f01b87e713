//! Who is in a room: members, and lists of them. Plain data.

use serde::{Deserialize, Serialize};

/// A member of a room: one session that asked to be listed. A user with two sessions is two members.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Id of the session.
    pub session: String,
    /// Who it is, by its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl Member {
    /// About how many bytes it takes in a frame.
    pub(super) fn bytes(&self) -> usize {
        const FRAMING: usize = 32;
        self.session.len() + self.user.as_ref().map_or(0, String::len) + FRAMING
    }
}

/// The members of a room. In a large room not all of them are named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Members, at most `presence.maxListed`.
    pub members: Vec<Member>,
    /// How many there are.
    pub count: usize,
}

impl Listing {
    /// Whether every member is named.
    pub fn complete(&self) -> bool {
        self.members.len() == self.count
    }

    /// About how many bytes it takes in a frame.
    pub fn bytes(&self) -> usize {
        self.members.iter().map(Member::bytes).sum()
    }
}

/// What members are told of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Members came.
    Join,
    /// Members left.
    Leave,
}
