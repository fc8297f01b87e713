use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn terms(pods: usize) -> Terms {
    let pods = (0..pods).map(name).collect();
    Terms { threshold_percent: 25, connections_per_second: 100, pods }
}

fn name(number: usize) -> String {
    format!("p{number}")
}

fn held(counts: &[i64]) -> BTreeMap<String, i64> {
    counts.iter().enumerate().map(|(number, count)| (name(number), *count)).collect()
}

/// Looks once a second, from `from` on, for as long.
fn looks(balance: &mut Balance, counts: &[i64], from: Instant, seconds: u64) -> Vec<BTreeMap<String, Order>> {
    let terms = terms(counts.len());
    let look = |second: u64| balance.look(Some(&terms), &held(counts), from + SECOND * u32::try_from(second).unwrap());
    (0..seconds).map(look).collect()
}

fn asks(orders: &[BTreeMap<String, Order>]) -> usize {
    orders.iter().filter(|orders| !orders.is_empty()).count()
}

#[test]
fn it_begins_when_the_fullest_was_far_over_the_mean_for_a_while() {
    let (mut balance, now) = (Balance::default(), Instant::now());
    let orders = looks(&mut balance, &[3000, 3000, 0, 0, 0, 0], now, 31);
    assert_eq!(asks(&orders[..30]), 0);
    let order = Order { keep: 1000, connections_per_second: 50, settled_for_seconds: 1 };
    assert_eq!(orders[30], BTreeMap::from([(name(0), order), (name(1), order)]));
}

#[test]
fn what_another_operator_had_under_way_goes_on_at_once_and_tells_nobody_twice() {
    let now = Instant::now() + REST;
    let mut balance = Balance::carried_on(SECOND * 18, now);
    let orders = looks(&mut balance, &[3000, 0], now + SECOND, 2);
    let settled: Vec<_> = orders.iter().map(|orders| orders[&name(0)].settled_for_seconds).collect();
    assert_eq!(settled, [20, 21], "nobody who came since it began");
    assert_eq!(asks(&looks(&mut balance, &[1510, 1490], now + SECOND * 3, 1)), 0, "and it ends as it would have");

    // A rollout comes between, and the wait begins anew; who was told is remembered all the same.
    let mut balance = Balance::carried_on(SECOND * 18, now);
    balance.look(None, &held(&[3000, 0]), now);
    let orders = looks(&mut balance, &[3000, 0], now + SECOND, 31);
    assert_eq!((asks(&orders), orders[30][&name(0)].settled_for_seconds), (1, 18 + 31 + 1));
}

#[test]
fn a_moment_of_evenness_begins_the_wait_anew() {
    let (mut balance, now) = (Balance::default(), Instant::now());
    assert_eq!(asks(&looks(&mut balance, &[3000, 0], now, 29)), 0);
    assert_eq!(asks(&looks(&mut balance, &[1500, 1500], now + SECOND * 29, 1)), 0);
    assert_eq!(asks(&looks(&mut balance, &[3000, 0], now + SECOND * 30, 30)), 0);
    assert_eq!(asks(&looks(&mut balance, &[3000, 0], now + SECOND * 60, 1)), 1);
}

#[test]
fn the_threshold_at_below_and_above() {
    for (counts, begins) in [([12_500, 7500], false), ([12_501, 7499], true), ([10_000, 10_000], false)] {
        let orders = looks(&mut Balance::default(), &counts, Instant::now(), 31);
        assert_eq!(asks(&orders) > 0, begins, "{counts:?}");
    }
}

#[test]
fn what_chance_does_to_few_sessions_is_no_reason() {
    for (counts, begins) in [([15, 5], false), ([140, 60], false), ([141, 59], true), ([30, 0], false), ([40, 0], true)]
    {
        let orders = looks(&mut Balance::default(), &counts, Instant::now(), 31);
        assert_eq!(asks(&orders) > 0, begins, "{counts:?}");
    }
}

#[test]
fn the_pace_is_shared_by_surplus_and_nobody_has_none() {
    let mut balance = Balance::default();
    let orders = looks(&mut balance, &[9000, 6001, 0, 0], Instant::now(), 31).remove(30);
    let paces: Vec<_> = orders.values().map(|order| (order.keep, order.connections_per_second)).collect();
    assert_eq!(paces, [(3751, 69), (3751, 30)]);
}

#[test]
fn it_goes_on_until_nobody_is_half_as_far_over_and_then_rests() {
    let (mut balance, now) = (Balance::default(), Instant::now());
    looks(&mut balance, &[3000, 0], now, 31);
    assert_eq!(asks(&looks(&mut balance, &[1800, 1200], now + SECOND * 31, 5)), 5, "20 percent over");
    assert_eq!(asks(&looks(&mut balance, &[1680, 1320], now + SECOND * 36, 1)), 0, "12 percent over: it is over");
    assert_eq!(asks(&looks(&mut balance, &[3000, 0], now + SECOND * 37, 299)), 0, "it rests");
    let after = now + SECOND * 36 + REST;
    assert_eq!(asks(&looks(&mut balance, &[3000, 0], after, 30)), 0);
    assert_eq!(asks(&looks(&mut balance, &[3000, 0], after + WAIT, 1)), 1);
}

#[test]
fn other_gateways_are_not_made_to_wait_for_the_rest() {
    let (mut balance, now) = (Balance::default(), Instant::now());
    looks(&mut balance, &[3000, 0], now, 31);
    looks(&mut balance, &[1500, 1500], now + SECOND * 31, 1);
    let orders = looks(&mut balance, &[1500, 1500, 0], now + SECOND * 40, 31);
    assert_eq!(asks(&orders), 1);
    assert_eq!(orders[30][&name(0)].settled_for_seconds, 41, "who moved in the first round stays in the second");
}

#[test]
fn without_progress_it_gives_up() {
    let (mut balance, now) = (Balance::default(), Instant::now());
    let orders = looks(&mut balance, &[3000, 0], now, 400);
    assert_eq!((asks(&orders[..30]), asks(&orders[30..90]), asks(&orders[90..])), (0, 60, 0));
}

#[test]
fn a_rollout_or_a_silent_gateway_stops_it() {
    let (mut balance, now) = (Balance::default(), Instant::now());
    looks(&mut balance, &[3000, 0], now, 31);
    let silent = BTreeMap::from([(name(0), 3000)]);
    assert!(balance.look(Some(&terms(2)), &silent, now + SECOND * 31).is_empty(), "a mean without one would be wrong");
    assert_eq!(asks(&looks(&mut balance, &[2900, 100], now + SECOND * 32, 1)), 1, "it goes on");
    assert!(balance.look(None, &held(&[2800, 200]), now + SECOND * 33).is_empty());
    assert_eq!(asks(&looks(&mut balance, &[2800, 200], now + SECOND * 34, 30)), 0, "it waits anew");
    assert_eq!(asks(&looks(&mut balance, &[2800, 200], now + SECOND * 64, 1)), 1);
    assert!(looks(&mut Balance::default(), &[3000], now, 40).iter().all(BTreeMap::is_empty), "one alone");
    assert!(looks(&mut Balance::default(), &[0, 0], now, 40).iter().all(BTreeMap::is_empty), "nobody is there");
}

/// Sessions of a gateway: those that were never told to move, and those that came from another.
type Sessions = (i64, i64);

proptest! {
    /// Whatever the gateways hold, and wherever a load balancer sends those who move: it ends, evener than it was, and no
    /// session moves twice.
    #[test]
    fn it_converges(
        counts in prop::collection::vec(0_i64..2000, 2..8),
        places in prop::collection::vec(0_usize..8, 64),
    ) {
        let (mut balance, mut now, terms) = (Balance::default(), Instant::now(), terms(counts.len()));
        let mut sessions: Vec<Sessions> = counts.iter().map(|count| (*count, 0)).collect();
        let total = |sessions: &[Sessions]| -> Vec<i64> { sessions.iter().map(|(old, new)| old + new).collect() };
        let spread = |counts: &[i64]| counts.iter().max().unwrap() - counts.iter().min().unwrap();
        let (mut next, mut asked) = (0, 0);
        for _ in 0..600 {
            let orders = balance.look(Some(&terms), &held(&total(&sessions)), now);
            now += SECOND;
            asked += usize::from(!orders.is_empty());
            for (pod, order) in orders {
                let giver: usize = pod[1..].parse().unwrap();
                for _ in 0..order.connections_per_second {
                    // Those that came from another are not told: see `settled_for_seconds`.
                    if sessions[giver].0 == 0 || sessions[giver].0 + sessions[giver].1 <= order.keep {
                        break;
                    }
                    sessions[giver].0 -= 1;
                    // Each place comes up as often as the others do: as a load balancer by chance has it.
                    next += 1 + places[next % places.len()] % 2;
                    let taker = next % counts.len();
                    // A client that comes back to where it was tries again.
                    let taker = if taker == giver { (taker + 1) % counts.len() } else { taker };
                    sessions[taker].1 += 1;
                }
            }
        }
        prop_assert!(asked < 400, "it ends");
        let (before, after) = (spread(&counts), spread(&total(&sessions)));
        prop_assert!(asked == 0 || after < before, "{counts:?} became {sessions:?}");
    }
}
