//! The whole client on real sockets against a gateway that does as it is told.

mod fake;

use std::time::Duration;

use serde_json::{Value, json};
use wscluster_client::{Client, Event, Events, MessageId, PublishError};

use fake::{Fake, Order};

/// The next event; a test that waits longer than this has failed.
async fn next(events: &mut Events) -> Event {
    tokio::time::timeout(Duration::from_secs(5), events.next()).await.expect("an event in time").expect("an event")
}

/// Skips to the first event that `wanted` recognises.
async fn until<T>(events: &mut Events, wanted: impl Fn(&Event) -> Option<T>) -> T {
    loop {
        if let Some(found) = wanted(&next(events).await) {
            return found;
        }
    }
}

async fn subscribed(events: &mut Events) -> MessageId {
    until(events, |event| if let Event::Subscribed { position, .. } = event { Some(*position) } else { None }).await
}

/// Reads messages until the one with number `last`; returns all numbers in the order of their arrival.
async fn numbers_until(events: &mut Events, last: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        match next(events).await {
            Event::Message { payload, .. } => numbers.push(payload.get().parse().unwrap()),
            Event::Repeated { id, .. } => panic!("{id} came twice on one connection"),
            Event::Closed { reason } => panic!("closed: {reason}"),
            _ => {}
        }
    }
    numbers
}

async fn in_lobby(fake: &Fake) -> (Client, Events) {
    let (client, mut events) = fake.client();
    client.subscribe("lobby", None);
    subscribed(&mut events).await;
    (client, events)
}

fn append(fake: &Fake, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        fake.append("lobby", json!(number));
    }
}

#[tokio::test]
async fn a_session_sees_what_is_published_after_it_subscribed() {
    let fake = Fake::start().await;
    append(&fake, 1..=3);
    let (client, mut events) = fake.client();
    client.subscribe("lobby", None);
    assert!(matches!(next(&mut events).await, Event::Connected { node, session } if node == "g0" && session == "s0"));
    assert_eq!(subscribed(&mut events).await, MessageId::new(1000, 3));
    append(&fake, 4..=6);
    let id = client.publish("lobby", &7).unwrap().await.unwrap();
    assert_eq!(numbers_until(&mut events, 7).await, [4, 5, 6, 7]);
    assert_eq!(id, MessageId::new(1000, 7));
}

#[tokio::test]
async fn a_session_that_breaks_goes_on_where_it_was() {
    let orders = [Order::Break, Order::Close(1001), Order::Close(1012), Order::Close(1013), Order::Close(4408)];
    for order in orders {
        let fake = Fake::start().await;
        let (_client, mut events) = in_lobby(&fake).await;
        append(&fake, 1..=2);
        assert_eq!(numbers_until(&mut events, 2).await, [1, 2]);
        let code = if let Order::Close(code) = order { Some(code) } else { None };
        fake.order(0, order);
        append(&fake, 3..=4);
        let seen = until(&mut events, |event| match event {
            Event::Disconnected { code, announced, .. } => Some((*code, *announced)),
            _ => None,
        });
        assert_eq!(seen.await, (code, false));
        append(&fake, 5..=6);
        let numbers = numbers_until(&mut events, 6).await;
        assert!(matches!(numbers[..], [3, 4, 5, 6] | [4, 5, 6] | [5, 6]), "{numbers:?}");
    }
}

#[tokio::test]
async fn a_session_that_is_told_to_stay_away_ends() {
    for code in [1000, 3000, 3003] {
        let fake = Fake::start().await;
        let (client, mut events) = in_lobby(&fake).await;
        fake.order(0, Order::Close(code));
        assert!(matches!(next(&mut events).await, Event::Disconnected { code: Some(seen), .. } if seen == code));
        assert!(matches!(next(&mut events).await, Event::Closed { .. }));
        assert!(events.next().await.is_none());
        assert_eq!(client.publish("lobby", &1).unwrap().await, Err(PublishError::NotConnected));
    }
}

#[tokio::test]
async fn a_drained_session_moves_without_a_gap_and_says_goodbye_only_then() {
    let fake = Fake::start().await;
    let (_client, mut events) = in_lobby(&fake).await;
    append(&fake, 1..=10);
    fake.drain(0, 20, 5000);
    append(&fake, 11..=20);
    let moved = until(&mut events, |event| match event {
        Event::Moved { from, to } => Some(format!("{from} {to}")),
        Event::Disconnected { .. } => panic!("there was a gap"),
        _ => None,
    });
    assert_eq!(moved.await, "g0 g1");
    fake.until(|seen| seen[0].goodbye == Some(1000)).await;
    append(&fake, 21..=25);
    assert_eq!(numbers_until(&mut events, 25).await, [21, 22, 23, 24, 25]);
}

#[tokio::test]
async fn every_message_comes_once_and_in_order_through_many_moves() {
    let fake = Fake::start().await;
    let (client, mut events) = in_lobby(&fake).await;
    client.subscribe("news", None);
    let mut expected = 0;
    for connection in 0..8 {
        append(&fake, expected + 1..=expected + 5);
        fake.drain(connection, 0, 5000);
        append(&fake, expected + 6..=expected + 10);
        expected += 10;
        let numbers = numbers_until(&mut events, expected).await;
        assert_eq!(numbers, (expected - 9..=expected).collect::<Vec<_>>());
        fake.until(|seen| seen[connection].goodbye == Some(1000)).await;
    }
}

#[tokio::test]
async fn a_drained_session_stays_while_nobody_takes_it() {
    let fake = Fake::start().await;
    let (_client, mut events) = in_lobby(&fake).await;
    fake.refuse(4);
    fake.drain(0, 0, 5000);
    append(&fake, 1..=3);
    let mut failed = 0;
    let mut numbers = Vec::new();
    loop {
        match next(&mut events).await {
            Event::ConnectFailed { retry_in, .. } => {
                assert!(retry_in.is_some());
                failed += 1;
            }
            Event::Message { payload, .. } => numbers.push(payload.get().to_owned()),
            Event::Disconnected { .. } => panic!("it left before it had another"),
            Event::Moved { .. } => break,
            _ => {}
        }
    }
    assert_eq!((failed, fake.refusing()), (4, 0));
    assert_eq!(numbers, ["1", "2", "3"]);
}

#[tokio::test]
async fn a_forced_close_is_told_apart_from_a_break() {
    let fake = Fake::start().await;
    let (_client, mut events) = in_lobby(&fake).await;
    fake.drain(0, 60_000, 60_000);
    fake.order(0, Order::Close(1012));
    let announced = until(&mut events, |event| match event {
        Event::Disconnected { code: Some(1012), announced, .. } => Some(*announced),
        _ => None,
    });
    assert!(announced.await);
    append(&fake, 1..=2);
    assert_eq!(numbers_until(&mut events, 2).await, [1, 2]);
}

#[tokio::test]
async fn a_gateway_that_falls_silent_is_left() {
    let fake = Fake::start().await;
    fake.heartbeat(30);
    let (_client, mut events) = in_lobby(&fake).await;
    fake.heartbeat(0);
    fake.order(0, Order::Silence);
    let reason = until(&mut events, |event| match event {
        Event::Disconnected { code: None, reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.await.contains("heartbeat"));
    append(&fake, 1..=2);
    assert_eq!(numbers_until(&mut events, 2).await, [1, 2]);
}

#[tokio::test]
async fn an_application_that_reads_late_misses_nothing() {
    let fake = Fake::start().await;
    let (_client, mut events) = in_lobby(&fake).await;
    append(&fake, 1..=2000);
    fake.until(|seen| seen[0].sent > 2000).await;
    assert_eq!(numbers_until(&mut events, 2000).await, (1..=2000).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_not_of_the_protocol_is_passed_over() {
    let fake = Fake::start().await;
    let (_client, mut events) = in_lobby(&fake).await;
    for text in ["", "{}", "[1]", "{\"type\":1}", "{\"type\":\"tomorrow\"}", "{\"type\":\"message\",\"room\":\"else\"}"]
    {
        fake.order(0, Order::Send(text.to_owned()));
    }
    append(&fake, 1..=1);
    assert_eq!(numbers_until(&mut events, 1).await, [1]);
}

#[tokio::test]
async fn a_dropped_client_says_goodbye() {
    let fake = Fake::start().await;
    let (client, mut events) = in_lobby(&fake).await;
    drop(client);
    assert!(matches!(next(&mut events).await, Event::Closed { .. }));
    fake.until(|seen| seen[0].goodbye == Some(1000)).await;
}

#[tokio::test]
async fn a_token_is_the_first_frame_of_every_connection() {
    let fake = Fake::start().await;
    let url = format!("ws://{}/ws", fake.address);
    let (client, mut events) = Client::builder(url).token(|| async { Some("secret".to_owned()) }).connect().unwrap();
    client.subscribe("lobby", None);
    subscribed(&mut events).await;
    fake.drain(0, 0, 5000);
    until(&mut events, |event| matches!(event, Event::Moved { .. }).then_some(())).await;
    let kinds = |requests: &[Value]| requests.iter().map(|request| request["type"].clone()).collect::<Vec<_>>();
    fake.until(|seen| seen.iter().all(|seen| kinds(&seen.requests) == ["auth", "subscribe"])).await;
}

#[tokio::test]
async fn publishes_keep_their_order_through_moves() {
    let fake = Fake::start().await;
    let (client, mut events) = in_lobby(&fake).await;
    let mut answers = Vec::new();
    for number in 1..=200_u64 {
        if number % 50 == 0 {
            fake.drain(usize::try_from(number / 50 - 1).unwrap(), 0, 5000);
            until(&mut events, |event| matches!(event, Event::Drain { .. }).then_some(())).await;
        }
        answers.push(client.publish("lobby", &number).unwrap());
        if number % 50 == 10 && number > 50 {
            until(&mut events, |event| matches!(event, Event::Moved { .. }).then_some(())).await;
        }
    }
    let mut last = MessageId::MIN;
    for answer in answers {
        let id = answer.await.unwrap();
        assert!(id > last, "{id} after {last}");
        last = id;
    }
}
