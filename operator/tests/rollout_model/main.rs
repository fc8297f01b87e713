//! Whatever happens to a fleet, and wherever its operator is cut off: it ends as it is wanted, some gateway serves at all
//! times, no session is cut off by us, and with a full surge each moves at most once per change.

mod nature;
mod operator;
mod script;
mod world;

use proptest::prelude::*;
use script::{Event, Scene, Step};
use world::{Kind, World};
use wscluster_operator::rollout::{Hold, Phase, Plan};

/// Ticks within which everything must have settled: some gateways never answer, and each is given up in its turn.
const PATIENCE: usize = 900;
/// Ticks for which nothing changes once it has: longer than a gateway that does not answer is waited for.
const STILL: usize = 40;

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::with_cases(std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(192))
    })]

    #[test]
    fn a_fleet_ends_as_it_is_wanted_whatever_happens(scene in script::scene()) {
        play(&scene);
    }

    #[test]
    fn with_a_full_surge_each_session_moves_at_most_once_per_change(scene in script::orderly_scene()) {
        let world = play(&scene);
        let most = world.sessions.iter().map(|session| session.moves).max().unwrap();
        prop_assert!(most <= world.allowed_moves, "{most} moves in {} changes", world.allowed_moves);
    }
}

/// Plays a scene, sees that it settles, mends whatever was broken by a good revision, and sees that this settles too.
fn play(scene: &Scene) -> World {
    let mut world = scene.world();
    for Step { event, ticks, operator } in &scene.steps {
        world.happen(event);
        for tick in 0..*ticks {
            operator.turn(&mut world, tick);
            world.tick();
        }
    }
    settle(&mut world);
    world.happen(&Event::Mend);
    let plan = settle(&mut world);
    assert_eq!(plan.phase, Phase::Idle, "{plan:#?}");
    world
}

/// Lets time pass until nothing changes any more, and sees that this is how it is wanted.
fn settle(world: &mut World) -> Plan {
    let mut still = 0;
    let mut last = Plan::default();
    for _ in 0..PATIENCE {
        let plan = world.turn(usize::MAX);
        world.tick();
        still = if plan == last && world.gateways.iter().all(world::Gateway::live) { still + 1 } else { 0 };
        last = plan;
        if still > STILL {
            break;
        }
    }
    assert!(still > STILL, "it never settles: {last:#?}\n{:#?}", world.seen());
    judge_end(world, &last);
    last
}

fn judge_end(world: &World, plan: &Plan) {
    let wanted = &world.wish.revision;
    let context = || format!("{plan:#?}\n{:#?}", world.seen());
    let turned = plan.active == *wanted;
    match world.kinds[wanted] {
        _ if world.wish.paused => assert_eq!(plan.hold, Some(Hold::Paused), "{}", context()),
        _ if plan.hold == Some(Hold::LossBudget) => assert!(turned && world.overspent(), "{}", context()),
        Kind::Good => {
            assert_eq!(plan.phase, Phase::Idle, "{}", context());
            assert_eq!(world.ready(wanted), world.wish.replicas, "{}", context());
            assert!(world.gateways.iter().all(|gateway| gateway.revision == *wanted), "{}", context());
            assert!(plan.drains.is_empty() && plan.cancels.is_empty() && plan.hold.is_none(), "{}", context());
            assert!(world.wish.replicas == 0 || world.sessions.iter().all(|session| session.at.is_some()));
        }
        Kind::NeverReady | Kind::NeverRuns if !turned => {
            assert_eq!(plan.phase, Phase::Failed, "{}", context());
        }
        Kind::NeverReady | Kind::NeverRuns | Kind::OneOnly => {}
    }
}
