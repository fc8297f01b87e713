//! Presence without sockets: what is told by table, a room through time, several gateways on one roster by chance, and
//! the suite that every roster passes.

mod rosters;
mod several;

use super::room::{Room, Step, Terms};
use super::roster::{Query, Reading};
use super::told::{Saying, Told};
use super::{Change, Listing, Member};

const TERMS: Terms = Terms { lease: 30_000, most: 10, chance: 0.5 };

type Answer<T> = Result<T, ()>;

fn member(session: &str) -> Member {
    Member { session: session.into(), user: None }
}

fn listing(sessions: &[&str]) -> Listing {
    Listing { members: sessions.iter().map(|session| member(session)).collect(), count: sessions.len() }
}

fn counted(count: usize) -> Listing {
    Listing { members: Vec::new(), count }
}

fn show(sayings: &[Saying]) -> Vec<String> {
    let names = |members: &[Member]| members.iter().map(|each| each.session.as_str()).collect::<Vec<_>>().join(",");
    sayings
        .iter()
        .map(|saying| match saying {
            Saying::Changed(Change::Join, members, count) => format!("+{} ={count}", names(members)),
            Saying::Changed(Change::Leave, members, count) => format!("-{} ={count}", names(members)),
            Saying::All(listing) => format!("all {} ={}", names(&listing.members), listing.count),
        })
        .collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn the_first_here_is_told_of_itself_and_not_of_those_who_were_there() {
    let mut told = Told::default();
    assert_eq!(show(&told.update(&listing(&["a", "b"]), 10, true, |session| session == "b")), ["+b =2"]);
    assert_eq!(show(&told.update(&listing(&["a", "b"]), 10, true, |_| true)), NOTHING);
}

#[test]
fn who_comes_is_told_before_who_leaves() {
    let mut told = Told::default();
    told.update(&listing(&["a", "b"]), 10, true, |_| false);
    assert_eq!(show(&told.update(&listing(&["b", "c"]), 10, true, |_| false)), ["+c =2", "-a =2"]);
}

#[test]
fn members_are_named_up_to_the_limit_and_counted_above() {
    let names: Vec<_> = (0..11).map(|n| format!("{n:02}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut told = Told::default();
    told.update(&listing(&names[..9]), 10, true, |_| false);
    assert_eq!(show(&told.update(&listing(&names[..10]), 10, true, |_| false)), ["+09 =10"]);
    assert_eq!(show(&told.update(&counted(11), 10, true, |_| false)), ["+ =11"]);
    assert_eq!(show(&told.update(&counted(11), 10, true, |_| false)), NOTHING);
    assert_eq!(show(&told.update(&listing(&names[..10]), 10, true, |_| false)), ["- =10"], "not at once");
    assert_eq!(show(&told.update(&listing(&names[..9]), 10, true, |_| false)), ["all 00,01,02,03,04,05,06,07,08 =9"]);
    assert_eq!(show(&told.update(&listing(&names[1..9]), 10, true, |_| false)), ["-00 =8"]);
}

#[test]
fn nobody_leaves_while_the_roster_is_not_trusted() {
    let mut told = Told::default();
    told.update(&listing(&["a", "b"]), 10, true, |_| false);
    assert_eq!(show(&told.update(&listing(&["c"]), 10, false, |_| false)), ["+c =3"]);
    assert_eq!(show(&told.update(&listing(&["b", "c"]), 10, true, |_| false)), ["-a =2"]);
    let mut large = Told::default();
    large.update(&counted(50), 10, true, |_| false);
    assert_eq!(show(&large.update(&counted(20), 10, false, |_| false)), NOTHING);
    assert_eq!(show(&large.update(&listing(&["b", "c"]), 10, false, |_| false)), NOTHING);
    assert_eq!(show(&large.update(&listing(&["b", "c"]), 10, true, |_| false)), ["all b,c =2"]);
}

fn write(room: &mut Room, now: u64) -> super::Write {
    match room.next(false, &TERMS, now) {
        Some(Step::Write(write)) => write,
        other => panic!("no write but {other:?}"),
    }
}

/// A room with one member here, written and read.
fn settled(now: u64) -> (Room, u64) {
    let mut room = Room::default();
    room.join(member("a"), now);
    let version = write(&mut room, now).version;
    room.wrote::<()>(&Ok(true), &TERMS, now);
    assert!(matches!(room.next(false, &TERMS, now), Some(Step::Read { hint: true, .. })));
    room.read(&read(version, &["a"]), &TERMS, now);
    (room, version)
}

#[expect(clippy::unnecessary_wraps, reason = "as a room takes it")]
fn read(version: u64, sessions: &[&str]) -> Answer<Reading> {
    Ok(Reading { listing: listing(sessions), own_version: Some(version), first_expiry: None })
}

#[test]
fn a_new_part_is_written_whole_and_later_only_what_has_changed() {
    let mut room = Room::default();
    room.join(member("a"), 1000);
    room.join(member("b"), 1000);
    let first = write(&mut room, 1000);
    assert_eq!((first.whole, first.add.len(), first.remove.len(), first.lease), (true, 2, 0, 30_000));
    room.join(member("c"), 1001);
    room.leave("a", 1001);
    room.wrote::<()>(&Ok(true), &TERMS, 1002);
    let second = write(&mut room, 1002);
    assert_eq!((second.whole, second.before), (false, first.version));
    assert_eq!((second.add, second.remove), (vec![member("c")], vec!["a".to_owned()]));
}

#[test]
fn many_changes_are_several_writes_of_bounded_size() {
    for (count, expect) in [(499, vec![499]), (500, vec![500]), (501, vec![500, 1]), (1200, vec![500, 500, 200])] {
        let mut room = Room::default();
        (0..count).for_each(|n| room.join(member(&n.to_string()), 0));
        let mut sizes = Vec::new();
        while let Some(Step::Write(write)) = room.next(false, &TERMS, 0) {
            assert_eq!(write.whole, sizes.is_empty());
            sizes.push(write.add.len());
            room.wrote::<()>(&Ok(true), &TERMS, 0);
        }
        assert_eq!(sizes, expect);
    }
}

#[test]
fn a_lease_is_renewed_in_a_third_of_its_time() {
    let (mut room, version) = settled(1000);
    assert_eq!(room.due(false), Some(11_000));
    assert_eq!(room.next(false, &TERMS, 10_999), None);
    assert_eq!(room.next(false, &TERMS, 11_000), Some(Step::Renew { version }));
    room.renewed::<()>(&Ok(true), &TERMS, 11_000);
    assert_eq!(room.due(false), Some(16_000), "the sweep");
    for chance in [0.0, 1.0] {
        let terms = Terms { chance, ..TERMS };
        room.renewed::<()>(&Ok(true), &terms, 0);
        let at = room.due(false).unwrap();
        assert!((8000..=12_000).contains(&at), "{at}");
    }
}

#[test]
fn the_end_of_anothers_lease_is_looked_at_when_it_comes() {
    let (mut room, version) = settled(1000);
    let Ok(reading) = read(version, &["a", "x"]) else { unreachable!() };
    room.read::<()>(&Ok(Reading { first_expiry: Some(4000), ..reading }), &TERMS, 2000);
    assert_eq!(room.due(false), Some(6020));
}

#[test]
fn changes_of_a_small_room_are_told_at_once_and_then_together() {
    let (mut room, version) = settled(1000);
    room.hinted(1500);
    assert_eq!(room.due(false), Some(1500));
    room.read(&read(version, &["a"]), &TERMS, 1500);
    room.hinted(1510);
    room.hinted(1520);
    assert_eq!(room.due(false), Some(1550));
}

#[test]
fn changes_of_a_large_room_are_told_once_a_second() {
    for (count, expect) in [(200, 1550), (201, 2500)] {
        let (mut room, version) = settled(1000);
        let reading = Reading { listing: counted(count), own_version: Some(version), first_expiry: None };
        room.read::<()>(&Ok(reading), &TERMS, 1500);
        room.hinted(1501);
        assert_eq!(room.due(false), Some(expect), "{count}");
    }
}

#[test]
fn while_the_roster_is_away_nobody_leaves_and_it_is_tried_again() {
    let (mut room, version) = settled(1000);
    room.hinted(2000);
    assert!(matches!(room.next(false, &TERMS, 2000), Some(Step::Read { .. })));
    assert_eq!(show(&room.read(&Err(()), &TERMS, 2000)), NOTHING);
    assert_eq!(room.due(false), Some(2625));
    assert!(matches!(room.next(true, &TERMS, 2001), Some(Step::Read { .. })), "who asks is answered at once");
    assert!(matches!(room.next(false, &TERMS, 2625), Some(Step::Read { .. })));
    assert_eq!(show(&room.read(&read(version, &["a", "b"]), &TERMS, 2625)), ["+b =2"]);
}

#[test]
fn after_a_failed_write_everything_is_written_anew() {
    let (mut room, _) = settled(1000);
    room.join(member("b"), 2000);
    write(&mut room, 2000);
    room.wrote(&Err(()), &TERMS, 2000);
    assert_eq!(room.next(false, &TERMS, 2001), None);
    let again = write(&mut room, 3000);
    assert_eq!((again.whole, again.add), (true, vec![member("a"), member("b")]));
}

#[test]
fn a_roster_that_has_lost_everything_is_written_anew_and_nobody_leaves_for_a_lease() {
    let (mut room, version) = settled(1000);
    room.read(&read(version, &["a", "x"]), &TERMS, 1001);
    room.renewed::<()>(&Ok(false), &TERMS, 11_000);
    let again = write(&mut room, 11_000);
    assert!(again.whole && again.version > version);
    room.wrote::<()>(&Ok(true), &TERMS, 11_000);
    assert_eq!(show(&room.read(&read(again.version, &["a"]), &TERMS, 11_001)), NOTHING);
    assert_eq!(show(&room.read(&read(again.version, &["a"]), &TERMS, 40_999)), NOTHING);
    assert_eq!(show(&room.read(&read(again.version, &["a"]), &TERMS, 41_000)), ["-x =1"]);
}

#[test]
fn a_reading_without_our_own_part_is_not_trusted() {
    let (mut room, version) = settled(1000);
    room.read(&read(version, &["a", "x"]), &TERMS, 1001);
    let empty = Ok::<_, ()>(Reading::default());
    assert_eq!(show(&room.read(&empty, &TERMS, 2000)), NOTHING);
    assert!(write(&mut room, 2000).whole);
}

#[test]
fn a_change_that_is_not_written_yet_is_known_here() {
    let (mut room, version) = settled(1000);
    room.read(&read(version, &["a", "x"]), &TERMS, 1001);
    room.join(member("b"), 2000);
    room.leave("a", 2000);
    assert_eq!(show(&room.read(&read(version, &["a", "x"]), &TERMS, 2000)), ["+b =2", "-a =2"]);
}

#[test]
fn the_last_to_leave_removes_the_part_and_has_the_others_told() {
    let (mut room, version) = settled(1000);
    room.leave("a", 2000);
    let last = write(&mut room, 2000);
    assert_eq!((last.before, last.add.len(), last.remove.len()), (version, 0, 1));
    assert!(room.wrote::<()>(&Ok(true), &TERMS, 2000));
    assert!(room.over());
    assert_eq!(room.due(false), None);
}

#[test]
fn who_comes_while_the_part_is_being_removed_begins_a_new_one() {
    let (mut room, _) = settled(1000);
    room.leave("a", 2000);
    write(&mut room, 2000);
    room.join(member("b"), 2001);
    room.wrote::<()>(&Ok(true), &TERMS, 2002);
    let new = write(&mut room, 2002);
    assert_eq!((new.whole, new.add), (true, vec![member("b")]));
}

#[test]
fn who_asks_in_a_large_room_gets_some_names_and_the_number() {
    let (mut room, version) = settled(1000);
    let Some(Step::Read { query, .. }) = room.next(true, &TERMS, 1001) else { panic!("no read") };
    assert_eq!(query, Query { most: 10, partial: true });
    let large = Reading {
        listing: Listing { members: listing(&["a", "b"]).members, count: 50 },
        own_version: Some(version),
        first_expiry: None,
    };
    assert_eq!(show(&room.read::<()>(&Ok(large.clone()), &TERMS, 1001)), ["+ =50"]);
    assert_eq!(room.answer(&large).count, 50);
    assert_eq!(room.answer(&large).members.len(), 2);
    room.hinted(5000);
    let Some(Step::Read { query, .. }) = room.next(false, &TERMS, 5000) else { panic!("no read") };
    assert_eq!(query, Query { most: 9, partial: false }, "nobody needs names");
}
