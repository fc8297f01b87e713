//! Opens the sessions at their pace and waits for them. What happens to them goes to the recorder.

use std::{sync::Arc, time::Duration};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;
use wscluster_client::{BuildError, Client};

use crate::{clock, options::Options, payload::Rooms, schedule::Schedule, shared::Shared, token};

/// Sessions that may be opened in one go.
const BATCH: usize = 50;

/// Connections that a session may have at once: in a move it has two.
const CONNECTIONS_EACH: u64 = 2;
/// Files that are open anyway.
const OTHER_FILES: u64 = 100;

/// Allows this process as many open files as the system lets it; a warning if that may be too few.
pub fn allow_files(sessions: usize) -> Option<String> {
    let wanted = sessions as u64 * CONNECTIONS_EACH + OTHER_FILES;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let allowed = hard.max(soft);
    if setrlimit(Resource::RLIMIT_NOFILE, allowed, hard).is_err() || allowed < wanted {
        return Some(format!(
            "{sessions} sessions may need {wanted} open files while they move, and the limit is {allowed} (ulimit -n)"
        ));
    }
    None
}

/// Starts all sessions, no faster than their pace; fewer when `stop` comes first.
///
/// # Errors
/// If the URL is not one of a WebSocket.
pub async fn open(
    options: &Options,
    rooms: &Rooms,
    shared: &Arc<Shared>,
    stop: &CancellationToken,
) -> Result<Vec<Client>, BuildError> {
    let total = options.sessions.get();
    let mut clients = Vec::with_capacity(total);
    let mut schedule = Schedule::new(options.connect_rate, clock::now());
    while clients.len() < total && !stop.is_cancelled() {
        for _ in schedule.due(clock::now(), BATCH.min(total - clients.len())) {
            clients.push(session(options, rooms, shared, clients.len())?);
        }
        tokio::select! {
            () = tokio::time::sleep(schedule.wait(clock::now())) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(clients)
}

/// Waits until every room of every session is subscribed; false if that takes longer than `patience` or `stop` comes.
pub async fn all_subscribed(options: &Options, shared: &Shared, patience: Duration, stop: &CancellationToken) -> bool {
    let wanted = options.sessions.get() * options.rooms_each();
    let subscribed = async {
        while shared.lock().subscriptions() < wanted {
            shared.changed().await;
        }
    };
    tokio::select! {
        outcome = tokio::time::timeout(patience, subscribed) => outcome.is_ok(),
        () = stop.cancelled() => false,
    }
}

fn session(options: &Options, rooms: &Rooms, shared: &Arc<Shared>, index: usize) -> Result<Client, BuildError> {
    let recorder = shared.clone();
    let builder = token::show(Client::builder(&options.url), options.token().as_ref());
    let client = builder.connect_with(move |event| recorder.event(index, event))?;
    if options.mixed_rooms {
        client.subscribe(rooms.name(rooms.of_mixed(index, options.sessions.get())), None);
        return Ok(client);
    }
    for room in rooms.of_session(index, options.rooms_each()) {
        client.subscribe(rooms.name(room), None);
    }
    Ok(client)
}
