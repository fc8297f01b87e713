//! Names in Redis, and the cluster slot that each hashes to
//! (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model>). Pure.

use crate::idempotency::IdempotencyKey;
use crate::room::RoomId;

/// Slots of a Redis Cluster.
pub(super) const SLOTS: u16 = 16_384;
/// What everything of ours that is no stream begins with.
const OURS: &str = "wscluster";

/// Names in Redis.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) prefix: String,
    channel_prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str, database: i64) -> Self {
        // https://redis.io/docs/latest/develop/use/keyspace-notifications/
        Self { prefix: prefix.to_owned(), channel_prefix: format!("__keyspace@{database}__:{prefix}") }
    }

    pub(super) fn stream(&self, room: &RoomId) -> String {
        format!("{}{room}", self.prefix)
    }

    /// The room of a stream's key.
    pub(super) fn room(&self, key: &str) -> Option<RoomId> {
        RoomId::parse(key.strip_prefix(&self.prefix)?).ok()
    }

    /// The slot of a room's stream.
    pub(super) fn slot(&self, room: &RoomId) -> u16 {
        slot(&self.stream(room))
    }

    /// The slot of a room, by what follows the prefix.
    pub(super) fn slot_of_name(&self, room: &str) -> u16 {
        slot(&format!("{}{room}", self.prefix))
    }

    /// Where the notifications of a room's stream come.
    pub(super) fn channel(&self, room: &RoomId) -> String {
        format!("{}{room}", self.channel_prefix)
    }

    /// The room of such a channel.
    pub(super) fn room_of_channel<'a>(&self, channel: &'a str) -> Option<&'a str> {
        channel.strip_prefix(&self.channel_prefix)
    }

    /// Where gateways tell one another: those that share rooms.
    pub(super) fn signals(&self) -> String {
        format!("{OURS}/signals/{}", self.prefix)
    }

    /// The pattern of `SCAN` that finds all streams, with the prefix taken literally.
    pub(super) fn pattern(&self) -> String {
        let mut pattern = String::new();
        for character in self.prefix.chars() {
            if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        pattern + "*"
    }

    /// A key in the same slot as a room's stream; no two rooms or kinds share one.
    pub(super) fn beside(&self, room: &RoomId, kind: &str) -> String {
        let stream = self.stream(room);
        if has_tag(&stream) {
            format!("{OURS}/{kind}/{stream}")
        } else if stream.contains('}') {
            // Cannot be put into braces: another name with the same slot is.
            format!("{OURS}/{kind}/{{{}}}/{stream}", name_in(slot(&stream)))
        } else {
            format!("{OURS}/{kind}/{{{stream}}}")
        }
    }

    /// Where an idempotency key of a room is kept. The length tells where the room ends.
    pub(super) fn idempotency(&self, room: &RoomId, key: &IdempotencyKey) -> String {
        let kind = format!("idempotency-{}", key.as_str().len());
        format!("{}/{key}", self.beside(room, &kind))
    }
}

/// Whether only a part of the key is hashed: what is between the first `{` and the next `}`, if that is anything.
fn tag(key: &str) -> Option<&str> {
    let (_, after) = key.split_once('{')?;
    let (tag, _) = after.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

fn has_tag(key: &str) -> bool {
    tag(key).is_some()
}

/// The slot of a key.
pub(super) fn slot(key: &str) -> u16 {
    crc16(tag(key).unwrap_or(key).as_bytes()) % SLOTS
}

/// The slot of a key in bytes.
pub(super) fn slot_of_bytes(key: &[u8]) -> u16 {
    std::str::from_utf8(key).map_or_else(|_| crc16(key) % SLOTS, slot)
}

/// Some text that hashes to a slot: found by trying, a few thousand times on average.
fn name_in(slot: u16) -> u32 {
    (0..u32::MAX).find(|n| crc16(n.to_string().as_bytes()) % SLOTS == slot).expect("every slot has names")
}

/// CRC16-CCITT (XMODEM), as the cluster specification says.
fn crc16(bytes: &[u8]) -> u16 {
    const POLYNOMIAL: u16 = 0x1021;
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ POLYNOMIAL }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(prefix: &str) -> Keys {
        Keys::new(prefix, 0)
    }

    fn room(name: &str) -> RoomId {
        RoomId::parse(name).unwrap()
    }

    #[test]
    fn slots_are_those_that_redis_computes() {
        // As CLUSTER KEYSLOT answers; 12739 is the specification's own example.
        for (key, expect) in [
            ("123456789", 12_739),
            ("", 0),
            ("foo", 12_182),
            ("{user1000}.following", 3443),
            ("{user1000}.followers", 3443),
        ] {
            assert_eq!(slot(key), expect, "{key}");
        }
        assert_eq!(slot("foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS, "an empty tag is none");
        assert_eq!(slot("foo{{bar}}zap"), crc16(b"{bar") % SLOTS);
    }

    #[test]
    fn a_prefix_is_taken_literally() {
        assert_eq!(keys("a[b]*?\\").pattern(), "a\\[b\\]\\*\\?\\\\*");
    }

    #[test]
    fn keys_beside_a_stream_are_readable() {
        assert_eq!(keys("room:").beside(&room("a"), "presence"), "wscluster/presence/{room:a}");
        assert_eq!(keys("room:").beside(&room("{t}a"), "presence"), "wscluster/presence/room:{t}a");
        let key = IdempotencyKey::parse("k1").unwrap();
        assert_eq!(keys("room:").idempotency(&room("a"), &key), "wscluster/idempotency-2/{room:a}/k1");
    }

    proptest! {
        #[test]
        fn a_key_beside_a_stream_is_in_its_slot(name in "[a{}/]{1,12}", kind in "[a-z]{1,5}") {
            let (keys, room) = (keys("room:"), room(&name));
            prop_assert_eq!(slot(&keys.beside(&room, &kind)), slot(&keys.stream(&room)));
            let key = IdempotencyKey::parse("}{/").unwrap();
            prop_assert_eq!(slot(&keys.idempotency(&room, &key)), slot(&keys.stream(&room)));
        }

        #[test]
        fn no_two_rooms_share_a_key(a in "[a{}/]{1,4}", b in "[a{}/]{1,4}", x in "[a{}/2]{1,3}", y in "[a{}/2]{1,3}") {
            let keys = keys("room:");
            let key = |text: &str| IdempotencyKey::parse(text).unwrap();
            let same = (&a, &x) == (&b, &y);
            prop_assert_eq!(keys.idempotency(&room(&a), &key(&x)) == keys.idempotency(&room(&b), &key(&y)), same);
            prop_assert_eq!(keys.beside(&room(&a), "k") == keys.beside(&room(&b), "k"), a == b);
        }
    }
}
