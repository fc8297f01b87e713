//! Lists the rooms that have a stream, page by page (`SCAN`, <https://redis.io/docs/latest/commands/scan/>). In a
//! Cluster one master after another, in the order of their places.

use std::sync::Arc;

use super::Inner;
use super::link::{Link, Way};
use super::servers::Servers;
use crate::error::LogError;
use crate::log::RoomPage;

/// Keys looked at for one page, other programs' included: a page may be short, but never takes long.
const MOST_KEYS: usize = 50_000;

/// Where a page begins: the server, and its own cursor.
#[derive(Debug, PartialEq, Eq)]
struct Cursor {
    server: String,
    keys: u64,
}

impl Cursor {
    fn parse(text: Option<String>) -> Result<Self, LogError> {
        let Some(text) = text else { return Ok(Self { server: String::new(), keys: 0 }) };
        let (server, keys) = text.rsplit_once('@').unwrap_or(("", &text));
        let bad = |_| LogError::Refused("the cursor is not one that was given".into());
        Ok(Self { server: server.to_owned(), keys: keys.parse().map_err(bad)? })
    }

    fn text(server: &str, keys: u64) -> String {
        if server.is_empty() { keys.to_string() } else { format!("{server}@{keys}") }
    }
}

/// One page.
pub(super) async fn page(inner: &Inner, cursor: Option<String>, limit: usize) -> Result<RoomPage, LogError> {
    let cursor = Cursor::parse(cursor)?;
    let (mut rooms, mut left) = (Vec::new(), MOST_KEYS);
    let servers = servers(inner).into_iter().filter(|(name, _)| *name >= cursor.server).collect::<Vec<_>>();
    for (index, (name, link)) in servers.iter().enumerate() {
        let mut keys = if *name == cursor.server { cursor.keys } else { 0 };
        loop {
            let count = limit.clamp(10, 1000);
            keys = scan(inner, link, keys, count, &mut rooms).await?;
            left = left.saturating_sub(count);
            let full = rooms.len() >= limit || left == 0;
            if keys != 0 && full {
                return Ok((rooms, Some(Cursor::text(name, keys))));
            }
            if keys == 0 {
                if let Some((next, _)) = servers.get(index + 1).filter(|_| full) {
                    return Ok((rooms, Some(Cursor::text(next, 0))));
                }
                break;
            }
        }
    }
    Ok((rooms, None))
}

fn servers(inner: &Inner) -> Vec<(String, Arc<Link>)> {
    match &inner.servers {
        Servers::One { commands, .. } => vec![(String::new(), Arc::clone(commands))],
        Servers::Cluster(cluster) => {
            let named =
                |node: Arc<super::cluster::Node>| (node.place.to_string(), Arc::clone(node.link(Way::Commands)));
            let mut masters: Vec<_> = cluster.masters().into_iter().map(named).collect();
            masters.sort_by(|(a, _), (b, _)| a.cmp(b));
            masters
        }
    }
}

/// Returns where to go on; 0 is the end.
async fn scan(
    inner: &Inner,
    link: &Link,
    from: u64,
    count: usize,
    rooms: &mut Vec<crate::room::RoomId>,
) -> Result<u64, LogError> {
    let mut scan = redis::cmd("SCAN");
    scan.arg(from).arg("MATCH").arg(inner.keys.pattern()).arg("COUNT").arg(count).arg("TYPE").arg("stream");
    let (next, keys): (u64, Vec<Vec<u8>>) = link.query(&mut scan).await?;
    rooms.extend(keys.iter().filter_map(|key| inner.keys.room(std::str::from_utf8(key).ok()?)));
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        for (server, keys) in [("", 0), ("", 7), ("a:1", 7), ("[::1]:1", 0)] {
            let cursor = Cursor::parse(Some(Cursor::text(server, keys))).unwrap();
            assert_eq!(cursor, Cursor { server: server.into(), keys });
        }
        assert!(Cursor::parse(Some("x".into())).is_err() && Cursor::parse(Some("a:1@x".into())).is_err());
    }
}
