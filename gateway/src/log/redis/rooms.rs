//! Lists the rooms that have a stream, page by page (`SCAN`, <https://redis.io/docs/latest/commands/scan/>).

use std::borrow::Cow;

use super::Inner;
use crate::error::LogError;
use crate::log::RoomPage;

/// Keys looked at for one page, other programs' included: a page may be short, but never takes long.
const MOST_KEYS: usize = 50_000;

/// One page.
pub(super) async fn page(inner: &Inner, cursor: Option<String>, limit: usize) -> Result<RoomPage, LogError> {
    let bad = |_| LogError::Refused(Cow::Borrowed("the cursor is not one that was given"));
    let mut cursor: u64 = cursor.map_or(Ok(0), |text| text.parse().map_err(bad))?;
    let (mut rooms, mut looked_at) = (Vec::new(), 0);
    let count = limit.clamp(10, 1000);
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(inner.keys.pattern()).arg("COUNT").arg(count).arg("TYPE").arg("stream");
        let (next, keys): (u64, Vec<Vec<u8>>) = inner.commands.query(&mut scan).await?;
        rooms.extend(keys.iter().filter_map(|key| inner.keys.room(std::str::from_utf8(key).ok()?)));
        cursor = next;
        looked_at += count;
        if cursor == 0 || rooms.len() >= limit || looked_at >= MOST_KEYS {
            return Ok((rooms, (cursor != 0).then(|| cursor.to_string())));
        }
    }
}
