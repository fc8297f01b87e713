//! How fast sessions move.

use jiff::Timestamp;
use wscluster_operator::rollout::Wish;
use wscluster_operator::rollout::pace::{Pace, pace};

use crate::scene::{read_pod, read_wanted};

fn wish(timeout_seconds: i64) -> Wish {
    Wish { timeout_seconds, ..read_wanted("b x3").0 }
}

/// The pace from gateways with `draining` connections to gateways with `takers`; `-` did not tell.
fn paced(wish: &Wish, draining: &str, takers: &str) -> Pace {
    let pods =
        |list: &str| list.split_whitespace().map(|count| read_pod(&format!("p {}", count.trim_matches('-')))).collect();
    let (draining, takers): (Vec<_>, Vec<_>) = (pods(draining), pods(takers));
    pace(wish, Timestamp::UNIX_EPOCH, &draining.iter().collect::<Vec<_>>(), &takers.iter().collect::<Vec<_>>())
}

#[test]
fn nothing_moves_where_nothing_drains() {
    assert_eq!(paced(&wish(60), "", "0 0"), Pace { fleet: 0, shares: vec![] });
}

#[test]
fn within_half_of_the_time_that_there_is() {
    assert_eq!(paced(&wish(60), "3000 3000", "0 0 0 0 0 0 0"), Pace { fleet: 200, shares: vec![100, 100] });
}

#[test]
fn no_more_than_half_of_the_handshakes_that_ready_gateways_accept() {
    let slow = Wish { handshakes_per_second: 10, ..wish(600) };
    assert_eq!(paced(&slow, "100", "0 0 0").fleet, 15, "else fifty at least, where there is room");
}

#[test]
fn one_for_each_gateway_where_there_is_no_room() {
    let at_limit = paced(&wish(100_000), "500", "750 750");
    assert_eq!(at_limit.fleet, 50, "as many free places as sessions");
    assert_eq!(paced(&wish(100_000), "501", "750 750").fleet, 2, "one place too few");
}

#[test]
fn never_less_than_lets_the_timeout_be_met() {
    assert_eq!(paced(&wish(60), "9000", "900 900").fleet, 200, "though there is no room");
    assert_eq!(paced(&wish(2), "900", "0 0").fleet, 600, "though it is more than they accept with ease");
    assert_eq!(paced(&wish(0), "900", "0 0").fleet, 600, "no time at all is taken for a second");
}

#[test]
fn the_users_rate_is_kept() {
    let set = Wish { connections_per_second: Some(7), ..wish(60) };
    assert_eq!(paced(&set, "9000 9000", "0 0"), Pace { fleet: 7, shares: vec![3, 3] });
}

#[test]
fn shares_are_in_proportion_and_one_at_least() {
    assert_eq!(paced(&wish(60), "300 100 0", "0 0"), Pace { fleet: 50, shares: vec![37, 12, 1] });
    let slow = Wish { connections_per_second: Some(1), ..wish(60) };
    assert_eq!(paced(&slow, "5 5 5", "0").shares, [1, 1, 1]);
}

#[test]
fn gateways_that_do_not_tell_count_as_the_mean_of_the_others() {
    assert_eq!(paced(&wish(60), "30 10 -", "0 0").shares, [25, 8, 16]);
    assert_eq!(paced(&wish(60), "- -", "0 0").shares, [25, 25]);
}

#[test]
fn with_nobody_to_take_over_it_is_slow_but_not_still() {
    assert_eq!(paced(&wish(60), "30", "").fleet, 1);
}

#[test]
fn shares_never_exceed_the_rate_but_for_the_one_that_each_has() {
    use proptest::prelude::*;
    proptest!(|(rate in 1u32..500, held in proptest::collection::vec(proptest::option::of(0i64..5000), 1..9))| {
        let line: Vec<_> = held.iter().map(|count| count.map_or("-".to_owned(), |count| count.to_string())).collect();
        let set = Wish { connections_per_second: Some(rate), ..wish(60) };
        let Pace { fleet, shares } = paced(&set, &line.join(" "), "0 0");
        prop_assert_eq!(fleet, rate);
        let more: u32 = shares.iter().filter(|share| **share > 1).sum();
        prop_assert!(more <= rate && shares.iter().all(|share| *share > 0));
    });
}
