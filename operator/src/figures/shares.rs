//! From what each gateway holds to what an autoscaler is told. Pure.
//!
//! Sessions of gateways that drain, or are of an older revision, are on their way to those that serve. Left out, they would
//! have the autoscaler see a fleet that is half empty, and shrink it while they arrive. So each gateway that they go to is
//! counted an equal share of them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{FiguresError, Sum};

/// Age from which a gateway's last answer is no figure any more, in seconds.
const STALE_SECONDS: i64 = 15;

/// What gateways said that they hold, and when, by uid of their pod.
pub type Answers = BTreeMap<String, (i64, Timestamp)>;

/// A gateway, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Name of its pod.
    pub name: String,
    /// Hash of its revision.
    pub revision: String,
    /// Whether it is to keep its sessions: it neither drains nor ends.
    pub serves: bool,
    /// The connections that it said it holds, and when; `None`: not lately.
    pub answer: Option<(i64, Timestamp)>,
}

/// The figure of one gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Name of its pod.
    pub pod: String,
    /// Connections that it holds, and its share of those that are coming.
    pub connections: i64,
    /// When it told.
    pub at: Timestamp,
}

/// Answers that are still told: new ones, and those before of pods that are late now, for a while.
pub fn still_told(before: Option<&Answers>, fresh: Answers, here: &BTreeSet<String>, now: Timestamp) -> Answers {
    let mut answers = before.cloned().unwrap_or_default();
    answers.extend(fresh);
    answers.retain(|uid, (_, at)| here.contains(uid) && now.duration_since(*at).as_secs() < STALE_SECONDS);
    answers
}

/// Figures of the gateways that sessions stay on, as far as those have answered, by pod. `active`: the revision that new
/// connections go to, if that is known.
pub fn figures(gateways: &[Gateway], active: Option<&str>) -> BTreeMap<String, Figure> {
    let stays = |gateway: &&Gateway| gateway.serves && active.is_none_or(|active| gateway.revision == active);
    let (staying, leaving): (Vec<_>, Vec<_>) = gateways.iter().partition(stays);
    let coming: i64 = leaving.iter().filter_map(|gateway| gateway.answer).map(|(connections, _)| connections).sum();
    let figure = |(place, gateway): (usize, &&Gateway)| {
        let (own, at) = gateway.answer?;
        let connections = own + share(coming, staying.len(), place);
        Some((gateway.name.clone(), Figure { pod: gateway.name.clone(), connections, at }))
    };
    staying.iter().enumerate().filter_map(figure).collect()
}

/// What all hold together.
pub fn sum(gateways: &[Gateway], now: Timestamp) -> Result<Sum, FiguresError> {
    let mut sum = Sum { connections: 0, at: now };
    for gateway in gateways {
        let (connections, at) = gateway.answer.ok_or_else(|| FiguresError::Incomplete(gateway.name.clone()))?;
        sum = Sum { connections: sum.connections + connections, at: sum.at.min(at) };
    }
    Ok(sum)
}

/// Equal parts that add up.
fn share(total: i64, parts: usize, place: usize) -> i64 {
    let parts = i64::try_from(parts).unwrap_or(i64::MAX).max(1);
    let place = i64::try_from(place).unwrap_or(i64::MAX);
    total / parts + i64::from(place < total % parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `name revision serves connections`, where `-` is no answer.
    fn gateways(lines: &[&str]) -> Vec<Gateway> {
        let gateway = |line: &&str| {
            let words: Vec<_> = line.split(' ').collect();
            Gateway {
                name: words[0].to_owned(),
                revision: words[1].to_owned(),
                serves: words[2] == "serves",
                answer: words[3].parse().ok().map(|connections| (connections, Timestamp::UNIX_EPOCH)),
            }
        };
        lines.iter().map(gateway).collect()
    }

    fn told(lines: &[&str]) -> Vec<(String, i64)> {
        figures(&gateways(lines), Some("new")).into_values().map(|figure| (figure.pod, figure.connections)).collect()
    }

    fn pairs(pairs: &[(&str, i64)]) -> Vec<(String, i64)> {
        pairs.iter().map(|(pod, connections)| ((*pod).to_owned(), *connections)).collect()
    }

    #[test]
    fn a_fleet_at_rest_is_told_as_it_is() {
        assert_eq!(told(&["a new serves 10", "b new serves 20"]), pairs(&[("a", 10), ("b", 20)]));
    }

    #[test]
    fn a_gateway_without_a_fresh_answer_is_left_out_and_is_not_zero() {
        assert_eq!(told(&["a new serves 10", "b new serves -"]), pairs(&[("a", 10)]));
    }

    #[test]
    fn a_draining_gateway_is_left_out_and_its_sessions_are_counted_where_they_go() {
        let seen = told(&["a new serves 100", "b new serves 100", "c new drains 101"]);
        assert_eq!(seen, pairs(&[("a", 151), ("b", 150)]));
    }

    #[test]
    fn in_a_rollout_the_new_gateways_are_counted_what_the_old_ones_hold() {
        let turned = ["a old serves 60", "b old serves 60", "x new serves 0", "y new serves -"];
        assert_eq!(told(&turned), pairs(&[("x", 60)]), "the one that does not answer has a share too");
        assert_eq!(told(&["a old drains 30", "x new serves 50"]), pairs(&[("x", 80)]));
    }

    #[test]
    fn before_the_turn_nothing_is_on_its_way() {
        let all = gateways(&["a old serves 60", "x new serves 0"]);
        let told: Vec<_> = figures(&all, Some("old")).into_values().map(|figure| figure.connections).collect();
        assert_eq!(told, [60], "and the new ones have no part in it yet");
    }

    #[test]
    fn a_late_gateway_is_told_of_by_its_last_answer_for_a_while() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let answers = |pairs: &[(&str, i64, i64)]| -> Answers {
            pairs.iter().map(|(uid, held, second)| ((*uid).to_owned(), (*held, at(*second)))).collect()
        };
        let here: BTreeSet<_> = ["a", "b"].map(str::to_owned).into();
        let before = answers(&[("a", 1, 10), ("b", 2, 10), ("gone", 3, 10)]);
        let told = |second| still_told(Some(&before), answers(&[("a", 5, second)]), &here, at(second));
        assert_eq!(told(13), answers(&[("a", 5, 13), ("b", 2, 10)]));
        assert_eq!(told(24), answers(&[("a", 5, 24), ("b", 2, 10)]));
        assert_eq!(told(25), answers(&[("a", 5, 25)]), "missing, and not zero");
    }

    #[test]
    fn a_sum_that_lacks_a_gateway_is_an_error() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(sum(&gateways(&["a new serves 3", "b old drains 4"]), now).unwrap().connections, 7);
        let error = sum(&gateways(&["a new serves 3", "b old drains -"]), now).unwrap_err();
        assert_eq!(error.to_string(), "gateway b does not answer");
    }

    proptest! {
        #[test]
        fn no_session_is_counted_twice_or_forgotten(
            all in prop::collection::vec((any::<bool>(), any::<bool>(), 0_i64..1000), 1..20)
        ) {
            let mut gateways: Vec<_> = all.iter().enumerate().map(|(number, (serves, new, held))| Gateway {
                name: number.to_string(),
                revision: if *new { "new" } else { "old" }.to_owned(),
                serves: *serves,
                answer: Some((*held, Timestamp::UNIX_EPOCH)),
            }).collect();
            gateways[0] = Gateway { revision: "new".to_owned(), serves: true, ..gateways[0].clone() };
            let told: i64 = figures(&gateways, Some("new")).into_values().map(|figure| figure.connections).sum();
            prop_assert_eq!(told, sum(&gateways, Timestamp::UNIX_EPOCH).unwrap().connections);
        }
    }
}
