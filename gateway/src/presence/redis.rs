//! The roster on Redis. Per room: a sorted set of gateways by the end of their leases, and one hash per gateway of its
//! members, which expires with the lease. Times are Redis's own, so that the clocks of gateways do not matter.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use redis::Cmd;

use super::roster::{Query, Reading, Roster, Write};
use super::{Listing, Member};
use crate::clock::Millis;
use crate::error::LogError;
use crate::log::redis::Commands;
use crate::room::RoomId;

/// `KEYS`: gateways, own members. `ARGV`: own name, lease, version, version before or "", how many to add, then field
/// and value of each, then the fields to remove. The field "" holds the version. Each is one step, so nobody reads half
/// a change, and a part that has expired in between is not begun anew with a change only.
const WRITE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if ARGV[4] == '' then
  redis.call('DEL', KEYS[2])
elseif redis.call('HGET', KEYS[2], '') ~= ARGV[4] then
  return 0
end
local at = 6
for _ = 1, tonumber(ARGV[5]) do
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
  at = at + 2
end
for i = at, #ARGV do
  redis.call('HDEL', KEYS[2], ARGV[i])
end
redis.call('HDEL', KEYS[2], '')
if redis.call('HLEN', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return 1
end
redis.call('HSET', KEYS[2], '', ARGV[3])
redis.call('PEXPIRE', KEYS[2], lease)
redis.call('ZADD', KEYS[1], now + lease, ARGV[1])
if redis.call('PTTL', KEYS[1]) < lease then
  redis.call('PEXPIRE', KEYS[1], lease)
end
return 1
";

/// `KEYS`: gateways, own members. `ARGV`: own name, lease, version.
const RENEW: &str = r"
if redis.call('HGET', KEYS[2], '') ~= ARGV[3] then
  return 0
end
local time = redis.call('TIME')
local lease = tonumber(ARGV[2])
redis.call('PEXPIRE', KEYS[2], lease)
redis.call('ZADD', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000) + lease, ARGV[1])
if redis.call('PTTL', KEYS[1]) < lease then
  redis.call('PEXPIRE', KEYS[1], lease)
end
return 1
";

/// `KEYS`: gateways. `ARGV`: own name, what the key of a gateway's members begins and ends with, most, partial.
/// Answers with the number of members, the time to the first end of another's lease or -1, the own version or "", and
/// members as pairs.
const READ: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('ZRANGEBYSCORE', KEYS[1], string.format('(%.0f', now), '+inf', 'WITHSCORES')
local keys, count, first, own = {}, 0, -1, ''
for i = 1, #found, 2 do
  local key = ARGV[2] .. found[i] .. ARGV[3]
  local length = redis.call('HLEN', key)
  if length > 0 then
    count = count + length - 1
    keys[#keys + 1] = key
  end
  if found[i] == ARGV[1] then
    own = redis.call('HGET', key, '') or ''
  elseif first < 0 or found[i + 1] - now < first then
    first = found[i + 1] - now
  end
end
local most = tonumber(ARGV[4])
local members = {}
if count > most and ARGV[5] ~= '1' then
  keys = {}
end
for _, key in ipairs(keys) do
  if #members >= most * 2 then
    break
  end
  local pairs
  if count > most then
    pairs = redis.call('HSCAN', key, 0, 'COUNT', most - #members / 2 + 1)[2]
  else
    pairs = redis.call('HGETALL', key)
  end
  for i = 1, #pairs, 2 do
    if pairs[i] ~= '' and #members < most * 2 then
      members[#members + 1] = pairs[i]
      members[#members + 1] = pairs[i + 1]
    end
  end
end
return {count, first, own, members}
";

/// The roster on Redis.
pub struct RedisRoster {
    commands: Commands,
    name: String,
}

impl RedisRoster {
    /// `node` is this gateway's name; a number of this process makes it unique, since the next process of this name does
    /// not go on with the sessions of this one.
    pub fn new(commands: Commands, node: &str) -> Arc<Self> {
        // Braces would decide about the key's slot.
        let kept = |c: &char| c.is_ascii_alphanumeric() || *c == '-' || *c == '.';
        let node: String = node.chars().filter(kept).collect();
        Arc::new(Self { commands, name: format!("{node}~{:016x}", rand::random::<u64>()) })
    }

    fn gateways(&self, room: &RoomId) -> String {
        self.commands.key_beside(room, "presence")
    }

    fn members(&self, room: &RoomId, gateway: &str) -> String {
        self.commands.key_beside(room, &format!("presence~{gateway}"))
    }

    fn script(&self, script: &str, room: &RoomId) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(2).arg(self.gateways(room)).arg(self.members(room, &self.name)).arg(&self.name);
        command
    }

    async fn write(&self, room: &RoomId, write: &Write) -> Result<bool, LogError> {
        let mut command = self.script(WRITE, room);
        let before = if write.whole { String::new() } else { write.before.to_string() };
        command.arg(write.lease).arg(write.version.to_string()).arg(before).arg(write.add.len());
        for member in &write.add {
            command.arg(&member.session).arg(value(member.user.as_deref()));
        }
        command.arg(&write.remove);
        Ok(self.commands.query::<i64>(&mut command).await? == 1)
    }

    async fn renew(&self, room: &RoomId, version: u64, lease: Millis) -> Result<bool, LogError> {
        let mut command = self.script(RENEW, room);
        command.arg(lease).arg(version.to_string());
        Ok(self.commands.query::<i64>(&mut command).await? == 1)
    }

    async fn read(&self, room: &RoomId, query: Query) -> Result<Reading, LogError> {
        const ANY: &str = "*";
        let pattern = self.members(room, ANY);
        let (begins, ends) = pattern.split_once(ANY).unwrap_or((&pattern, ""));
        let mut command = redis::cmd("EVAL");
        command.arg(READ).arg(1).arg(self.gateways(room)).arg(&self.name);
        command.arg(begins).arg(ends).arg(query.most).arg(u8::from(query.partial));
        let (count, first, own, pairs) = self.commands.query::<(usize, i64, String, Vec<String>)>(&mut command).await?;
        let members = pairs.chunks_exact(2).map(|pair| Member { session: pair[0].clone(), user: user(&pair[1]) });
        Ok(Reading {
            listing: Listing { members: members.collect(), count },
            own_version: own.parse().ok(),
            first_expiry: u64::try_from(first).ok(),
        })
    }
}

/// Someone without a name is not someone with an empty one.
fn value(user: Option<&str>) -> String {
    user.map_or_else(String::new, |user| format!("={user}"))
}

fn user(value: &str) -> Option<String> {
    value.strip_prefix('=').map(ToOwned::to_owned)
}

impl Roster for RedisRoster {
    fn write<'a>(&'a self, room: &'a RoomId, write: &'a Write) -> BoxFuture<'a, Result<bool, LogError>> {
        self.write(room, write).boxed()
    }

    fn renew<'a>(&'a self, room: &'a RoomId, version: u64, lease: Millis) -> BoxFuture<'a, Result<bool, LogError>> {
        self.renew(room, version, lease).boxed()
    }

    fn read<'a>(&'a self, room: &'a RoomId, query: Query) -> BoxFuture<'a, Result<Reading, LogError>> {
        self.read(room, query).boxed()
    }
}
