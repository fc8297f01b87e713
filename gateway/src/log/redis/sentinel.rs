//! Asks the Sentinels where the master is, for as long as the log runs
//! (<https://redis.io/docs/latest/develop/reference/sentinel-clients/>).

use std::time::Duration;

use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tokio::sync::watch;

use super::place::Place;
use super::{Address, errors};

const ASK_EVERY: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(2);

/// Follows the master. The receiver holds where it is, as soon as that is known.
pub(super) fn follow(
    address: Address,
    master: String,
    stop: tokio_util::sync::CancellationToken,
) -> watch::Receiver<Option<Place>> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(stop.run_until_cancelled_owned(ask_for_ever(address, master, sender)));
    receiver
}

async fn ask_for_ever(address: Address, master: String, found: watch::Sender<Option<Place>>) {
    let mut sentinels = address.seeds().to_vec();
    let (mut connection, mut unanswered) = (None, 0);
    loop {
        match ask(&address, &sentinels[0], &master, &mut connection).await {
            Ok(place) => {
                unanswered = 0;
                tell(&found, &place);
            }
            Err(reason) => {
                connection = None;
                if unanswered == sentinels.len() {
                    tracing::warn!(reason, redis = %address, "no Sentinel says where the master is; asking on");
                }
                unanswered = unanswered.saturating_add(1);
                sentinels.rotate_left(1);
                if !unanswered.is_multiple_of(sentinels.len()) {
                    continue;
                }
            }
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn tell(found: &watch::Sender<Option<Place>>, place: &Place) {
    let moved = found.send_if_modified(|known| {
        let moved = known.as_ref() != Some(place);
        *known = Some(place.clone());
        moved
    });
    if moved {
        tracing::info!(master = %place, "the Sentinels name the master");
    }
}

async fn ask(
    address: &Address,
    sentinel: &Place,
    master: &str,
    connection: &mut Option<MultiplexedConnection>,
) -> Result<Place, String> {
    if connection.is_none() {
        *connection = Some(connect(address, sentinel).await?);
    }
    let connection = connection.as_mut().expect("just made");
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let answer: Option<(String, u16)> =
        command.query_async(connection).await.map_err(|error| errors::describe(&error))?;
    let (host, port) = answer.ok_or_else(|| format!("{sentinel} knows no master named {master}"))?;
    Ok(Place { host, port })
}

/// Sentinels may ask for the same credentials as the servers, or for none.
async fn connect(address: &Address, sentinel: &Place) -> Result<MultiplexedConnection, String> {
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
    let dial =
        async |login| address.sentinel(sentinel, login)?.get_multiplexed_async_connection_with_config(&config).await;
    let result = match dial(address.has_login()).await {
        Err(error) if address.has_login() && !error.is_io_error() => dial(false).await,
        result => result,
    };
    result.map_err(|error| format!("{sentinel}: {}", errors::describe(&error)))
}
