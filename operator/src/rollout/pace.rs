//! How fast sessions move: a rate for the whole fleet, and each draining gateway's share of it.

use jiff::Timestamp;

use super::{Pod, Wish};

/// Sessions per second that a fleet moves at least where there is room for them: a small one need not take long.
const AT_LEAST: f64 = 50.0;

/// Sessions per second, for the fleet and for each draining gateway.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pace {
    /// The whole fleet's; 0 where nothing drains.
    pub fleet: u32,
    /// Each draining gateway's, in the order in which they were given.
    pub shares: Vec<u32>,
}

/// The pace at which `draining` gateways hand their sessions to `takers`.
pub fn pace(wish: &Wish, now: Timestamp, draining: &[&Pod], takers: &[&Pod]) -> Pace {
    if draining.is_empty() {
        return Pace::default();
    }
    let weights = weights(draining);
    let auto = || auto(wish, left(wish, now, draining), weights.iter().sum(), takers);
    let fleet = wish.connections_per_second.unwrap_or_else(auto).max(1);
    Pace { fleet, shares: shares(fleet, &weights) }
}

/// No faster than lets the timeout be met, with half of it kept for stragglers: a fleet that has time makes no storm. What is
/// left after that is spread over a half of the rest: gateways are late where the takers did not take their sessions in, and
/// would not take them all at once either. And no faster than the takers can take, unless the deadline would cut sessions off.
fn auto(wish: &Wish, left: f64, remaining: f64, takers: &[&Pod]) -> u32 {
    let half = wish.timeout_seconds.max(2) as f64 / 2.0;
    let by_the_deadline = remaining / (left + half / 2.0).clamp(1.0, 2.0 * half);
    let in_time = if left > 0.0 { remaining / left.clamp(1.0, half) } else { by_the_deadline }.max(AT_LEAST);
    let count = takers.len() as f64;
    let free: f64 = wish.max_connections as f64 * count - weights(takers).iter().sum::<f64>();
    let with_ease = count * f64::from(wish.handshakes_per_second) / 2.0;
    // Without room some are turned away for a while: rather one after another than in a storm.
    let can_take = if free < remaining { count } else { with_ease };
    in_time.min(can_take).max(by_the_deadline).ceil() as u32
}

/// Seconds until half of the timeout is over for the gateway that began first.
fn left(wish: &Wish, now: Timestamp, draining: &[&Pod]) -> f64 {
    let half = wish.timeout_seconds.max(2) as f64 / 2.0;
    let since = draining.iter().filter_map(|pod| pod.mark).map(|mark| mark.since).min();
    let elapsed = since.map_or(0.0, |since| now.duration_since(since).as_secs_f64() - wish.min_seconds as f64);
    half - elapsed.max(0.0)
}

/// Connections, those of gateways that did not tell taken for the mean of the others.
fn weights(pods: &[&Pod]) -> Vec<f64> {
    let known: Vec<_> = pods.iter().filter_map(|pod| pod.connections).map(|count| count.max(0) as f64).collect();
    let mean = if known.is_empty() { 1.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
    pods.iter().map(|pod| pod.connections.map_or(mean, |count| count.max(0) as f64)).collect()
}

/// In proportion, rounded down so that together they keep the rate; at least 1, or a gateway would never be empty.
fn shares(fleet: u32, weights: &[f64]) -> Vec<u32> {
    let total: f64 = weights.iter().sum();
    let share = |weight: &f64| if total > 0.0 { f64::from(fleet) * weight / total } else { 0.0 };
    weights.iter().map(|weight| (share(weight).floor() as u32).max(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{DrainState, Mark, Reason};
    use super::*;

    fn wish() -> Wish {
        Wish {
            revision: String::new(),
            replicas: 2,
            max_surge: 2,
            paused: false,
            loss_budget: None,
            min_seconds: 10,
            timeout_seconds: 300,
            connections_per_second: None,
            handshakes_per_second: 2000,
            max_connections: 50_000,
        }
    }

    fn pod(connections: i64, marked_seconds_ago: i64) -> Pod {
        let since = Timestamp::from_second(1000 - marked_seconds_ago).unwrap();
        Pod {
            name: String::new(),
            ready: true,
            unready_since: None,
            running: true,
            terminating: false,
            connections: Some(connections),
            drain: DrainState::Draining,
            mark: Some(Mark { reason: Reason::Rollout, since }),
            cheap: false,
            leaving_node: false,
        }
    }

    fn at(wish: &Wish, draining: &[Pod], takers: &[Pod]) -> Pace {
        let now = Timestamp::from_second(1000).unwrap();
        pace(wish, now, &draining.iter().collect::<Vec<_>>(), &takers.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_fleet_that_has_time_takes_half_of_it() {
        let takers = [pod(0, 0), pod(0, 0)];
        assert_eq!(at(&wish(), &[pod(20_000, 0), pod(10_000, 0)], &takers), Pace { fleet: 200, shares: vec![133, 66] });
        assert_eq!(at(&wish(), &[pod(15_000, 85)], &takers).fleet, 200, "half is moved when half of that time is over");
        assert_eq!(at(&wish(), &[pod(300, 0)], &takers).fleet, 50, "a small one need not take long");
    }

    #[test]
    fn one_that_is_late_hurries_but_asks_no_more_than_the_takers_can_take() {
        let takers = [pod(0, 0)];
        assert_eq!(at(&wish(), &[pod(30_000, 150)], &takers).fleet, 1000);
        assert_eq!(at(&wish(), &[pod(30_000, 160)], &takers).fleet, 400, "within three quarters of the time");
        assert_eq!(at(&wish(), &[pod(30_000, 200)], &takers).fleet, 858);
        assert_eq!(at(&wish(), &[pod(30_000, 300)], &takers).fleet, 30_000, "the deadline would cut them off");
    }

    #[test]
    fn a_fleet_without_free_places_moves_slowly() {
        let takers = [pod(49_000, 0), pod(49_000, 0)];
        assert_eq!(at(&wish(), &[pod(20_000, 0)], &takers).fleet, 89, "as much as the deadline asks for");
        assert_eq!(at(&wish(), &[pod(2001, 0)], &takers).fleet, 9);
    }

    #[test]
    fn a_pace_that_is_set_is_kept_and_shared() {
        let set = Wish { connections_per_second: Some(30), ..wish() };
        let pace = at(&set, &[pod(900, 0), pod(100, 0), pod(0, 0)], &[pod(0, 0)]);
        assert_eq!(pace, Pace { fleet: 30, shares: vec![27, 3, 1] });
    }
}
