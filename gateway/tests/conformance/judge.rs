//! Plays a case against a gateway and compares what came with what must come.

use std::net::SocketAddr;
use std::time::Duration;

use crate::case::{Case, End};
use crate::frame::{Received, close, ping, text};
use crate::wire::{self, Came, Reader, Writer};

/// Longer than the gateway waits for anybody.
const PATIENCE: Duration = Duration::from_secs(10);
/// Asked at the end, to see that the connection still works.
const STILL_THERE: &[u8] = b"still there?";
/// Said to the room by the bystander, to see that nothing else came before it.
const THAT_WAS_ALL: &[u8] = b"that was all";

/// Plays a case; an error says what was wrong. `room` is the case's own.
pub(crate) async fn play(case: &Case, gateway: SocketAddr, room: &str) -> Result<(), String> {
    let (mut bystander, mut bystander_says) = soon(wire::connect(gateway, room)).await?;
    // Its own message back says that it is in the room.
    bystander_says.write(&text("here").bytes()).await;
    expect_text(&mut bystander, b"here").await?;
    let (reader, writer) = soon(wire::connect(gateway, room)).await?;
    let seen = soon(watch(case, reader, writer)).await?;
    compare(case, &seen)?;
    bystander_says.write(&text(THAT_WAS_ALL).bytes()).await;
    for expect in case.expect.room.iter().map(Vec::as_slice).chain([THAT_WAS_ALL]) {
        expect_text(&mut bystander, expect).await.map_err(|error| format!("in the room: {error}"))?;
    }
    Ok(())
}

/// What the client saw.
#[derive(Default)]
struct Seen {
    texts: Vec<Vec<u8>>,
    pongs: Vec<Vec<u8>>,
    close: Option<u16>,
    reset: bool,
}

/// Writes the script and reads at the same time, to the end of TCP.
async fn watch(case: &Case, mut reader: Reader, mut writer: Writer) -> Result<Seen, String> {
    let open = case.expect.end == End::Open;
    let (answer, mut answered) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
    let writing = async move {
        for step in &case.script {
            writer.perform(step).await;
        }
        if open {
            writer.write(&ping(STILL_THERE).bytes()).await;
        }
        while let Some(bytes) = answered.recv().await {
            writer.write(&bytes).await;
        }
        // The client's half ends only after the server's: the server closes first (RFC 6455 section 7.1.1).
        writer
    };
    let reading = async move {
        let mut seen = Seen::default();
        loop {
            match reader.next().await? {
                Came::Frame(Received::Text(payload)) => seen.texts.push(payload),
                Came::Frame(Received::Pong(payload)) => seen.pongs.push(payload),
                Came::Frame(Received::Ping) => {}
                Came::Frame(Received::Close(code)) if seen.close.is_none() => {
                    seen.close = Some(code);
                    if !open {
                        let _ = answer.send(close(1000, "").bytes());
                    }
                }
                Came::Frame(Received::Close(_)) => return Err("two close frames".into()),
                Came::End => return Ok(seen),
                Came::Reset => return Ok(Seen { reset: true, ..seen }),
            }
            let complete = seen.texts.len() >= case.expect.room.len();
            if open && complete && seen.close.is_none() && seen.pongs.last().is_some_and(|pong| pong == STILL_THERE) {
                seen.pongs.pop();
                let _ = answer.send(close(1000, "bye").bytes());
            }
        }
    };
    let (seen, _open_until_here) = tokio::join!(reading, writing);
    seen
}

fn compare(case: &Case, seen: &Seen) -> Result<(), String> {
    let expect = &case.expect;
    let show = |texts: &[Vec<u8>]| {
        let short = texts.iter().map(|text| String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned());
        short.collect::<Vec<_>>().join("|")
    };
    let (texts, room) = (&seen.texts, &expect.room);
    let right = if expect.end == End::Open { texts == room } else { room.starts_with(texts) };
    if !right {
        return Err(format!("{} texts [{}] but not {} [{}]", texts.len(), show(texts), room.len(), show(room)));
    }
    if !answers(&expect.pings, &seen.pongs) {
        return Err(format!("pongs [{}] for pings [{}]", show(&seen.pongs), show(&expect.pings)));
    }
    let ending = format!("close {:?}{}", seen.close, if seen.reset { ", TCP reset" } else { "" });
    let right = match expect.end {
        End::Open => seen.close == Some(1000) && !seen.reset,
        End::Closed(codes) => seen.close.is_some_and(|code| codes.contains(&code)),
        End::Gone => !seen.reset,
    };
    if right { Ok(()) } else { Err(format!("{ending}; expected {:?}", expect.end)) }
}

/// Every pong is of a ping, in order, and the last ping is answered.
fn answers(asked: &[Vec<u8>], pongs: &[Vec<u8>]) -> bool {
    let mut rest = asked.iter();
    pongs.iter().all(|pong| rest.any(|ping| ping == pong)) && asked.last() == pongs.last()
}

/// Waits for something that must happen.
pub(crate) async fn soon<T>(what: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let late = || Err("it did not happen in time".into());
    tokio::time::timeout(PATIENCE, what).await.unwrap_or_else(|_| late())
}

async fn expect_text(reader: &mut Reader, expect: &[u8]) -> Result<(), String> {
    loop {
        match soon(reader.next()).await? {
            Came::Frame(Received::Text(text)) if text == expect => return Ok(()),
            Came::Frame(Received::Ping) => {}
            other => {
                let mut other = format!("{other:?}");
                other.truncate(200);
                return Err(format!(
                    "{other} in place of {:?}",
                    String::from_utf8_lossy(&expect[..expect.len().min(40)])
                ));
            }
        }
    }
}
