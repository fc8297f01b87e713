//! What members of a room are told of its members: frames, encoded once for all of them.

use std::sync::Arc;

use super::told::Saying;
use super::{Change, Member};
use crate::entry::{Text, frame_cost};
use crate::protocol::{self, Frame};
use crate::room::RoomId;

/// Members that one frame names at most.
const MOST_MEMBERS: usize = 100;
/// Bytes of the members that one frame names, unless it is one alone.
const MOST_BYTES: usize = 16 * 1024;

/// A frame for the members of a room that are listed.
#[derive(Debug)]
pub struct Notice {
    /// The room.
    pub room: RoomId,
    /// The frame.
    pub frame: Text,
}

impl Notice {
    /// Members of a room came or left; `count` are there now.
    pub fn new(room: &RoomId, change: Change, members: &[Member], count: usize) -> Arc<Self> {
        Self::of(
            room,
            &match change {
                Change::Join => Frame::Join { room, members, count },
                Change::Leave => Frame::Leave { room, members, count },
            },
        )
    }

    fn of(room: &RoomId, frame: &Frame<'_>) -> Arc<Self> {
        Arc::new(Self { room: room.clone(), frame: protocol::encode(frame) })
    }

    /// Bytes that it takes in a queue.
    pub fn cost(&self) -> usize {
        frame_cost(self.frame.as_str().len())
    }
}

/// The frames of what is to be said.
pub(super) fn notices(room: &RoomId, sayings: &[Saying]) -> Vec<Arc<Notice>> {
    let frames = |saying: &Saying| match saying {
        Saying::Changed(change, members, count) => {
            chunks(members).into_iter().map(|members| Notice::new(room, *change, members, *count)).collect()
        }
        Saying::All(listing) => {
            let (members, count) = (&listing.members[..], listing.count);
            vec![Notice::of(room, &Frame::Presence { reference: None, room, members, count })]
        }
    };
    sayings.iter().flat_map(frames).collect()
}

/// Splits so that no frame is large. Nobody named is one frame, too.
fn chunks(members: &[Member]) -> Vec<&[Member]> {
    let (mut chunks, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (index, member) in members.iter().enumerate() {
        let full = index - start == MOST_MEMBERS || bytes + member.bytes() > MOST_BYTES;
        if full && index > start {
            chunks.push(&members[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += member.bytes();
    }
    chunks.push(&members[start..]);
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: usize, user: usize) -> Vec<Member> {
        (0..count).map(|n| Member { session: n.to_string(), user: Some("u".repeat(user)) }).collect()
    }

    #[test]
    fn frames_name_a_bounded_number_of_members_and_lose_none() {
        for (count, expect) in [(0, 1), (1, 1), (99, 1), (100, 1), (101, 2), (200, 2), (201, 3)] {
            let members = members(count, 1);
            let chunks = chunks(&members);
            assert_eq!(chunks.len(), expect, "{count}");
            assert_eq!(chunks.concat(), members);
        }
    }

    #[test]
    fn long_names_make_more_frames_and_one_alone_passes() {
        let members = members(10, MOST_BYTES);
        assert_eq!(chunks(&members).len(), 10);
    }

    #[test]
    fn every_frame_tells_how_many_there_are() {
        let room = RoomId::parse("a").unwrap();
        let frames = notices(&room, &[Saying::Changed(Change::Leave, members(150, 1), 7)]);
        assert_eq!(frames.len(), 2);
        assert!(frames.iter().all(|notice| notice.frame.as_str().ends_with(r#"],"count":7}"#)));
        let nobody = notices(&room, &[Saying::Changed(Change::Join, Vec::new(), 5000)]);
        assert_eq!(nobody[0].frame.as_str(), r#"{"type":"join","room":"a","members":[],"count":5000}"#);
    }
}
