//! What is planned next, phase by phase and for each interruption: scenes in words (`scene.rs` says how to read them).

mod pace;
mod scene;

use scene::{check, plan};

const OLD: &str = "a x3 noted 1 available 3: a1 ready 5, a2 ready 4, a3 ready 6";
const NEW: &str = "b x3 noted 2 available 3: b1 ready 0, b2 ready 0, b3 ready 0";

mod begins {
    use super::*;

    #[test]
    fn a_first_fleet_is_active_at_once() {
        check("a x3", &[], "Idle on a: a=3*");
    }

    #[test]
    fn a_fleet_as_it_is_wanted_is_left_alone() {
        check("a x3 on a", &[OLD], "Idle on a: a=3*");
    }

    #[test]
    fn a_deleted_service_goes_on_with_the_newest_revision_that_serves() {
        check("c x3 surge 3", &[OLD, NEW, "c x3: c1, c2, c3"], "Surging on b: a=3* b=3* c=3, drain a1 a2 a3");
        let broken = "b x3 noted 2: b1, b2, b3";
        check("c x3 surge 3", &[OLD, broken, "c x3: c1, c2, c3"], "Surging on a: a=3* b=3* c=3, drain b1 b2 b3");
    }

    #[test]
    fn a_deleted_service_does_not_go_to_gateways_whose_deployment_is_gone() {
        let orphan = "o x0 gone noted 0: o1 ready 0";
        check("b x3 surge 3", &[OLD, orphan], "Surging on a: a=3* b=3, drain o1");
    }

    #[test]
    fn a_deleted_service_goes_to_the_wanted_revision_where_none_serves() {
        check("a x3", &["a x3: a1, a2, a3"], "Idle on a: a=3*");
    }

    #[test]
    fn a_deleted_deployment_is_made_again() {
        check("a x3 on a", &[], "Idle on a: a=3*");
        check("a x3 on a", &["a x3 gone noted 1: a1 ready ending 5"], "Idle on a: a=3*");
    }
}

mod surges {
    use super::*;

    #[test]
    fn a_new_revision_comes_up_beside_the_old_one() {
        check("b x3 surge 3 on a", &[OLD], "Surging on a: a=3* b=3");
    }

    #[test]
    fn within_the_surge_and_by_one_at_least() {
        check("b x3 surge 2 on a", &[OLD], "Surging on a: a=3* b=2");
        check("b x3 surge 1 on a", &[OLD], "Surging on a: a=3* b=1");
        let crowd = "o x3 noted 9: o1 5 draining rollout@9, o2 5 draining rollout@9, o3 5 draining rollout@9";
        let expected = "Surging on a: a=3* b=1 o=3*, drain o1 o2 o3";
        check("b x3 surge 1 on a", &[OLD, crowd], expected);
    }

    #[test]
    fn no_turn_before_enough_are_available_and_ready() {
        check("b x3 surge 3 on a", &[OLD, "b x3 available 2: b1 ready, b2 ready, b3"], "Surging on a: a=3* b=3");
        check("b x3 surge 3 on a", &[OLD, "b x3 available 3: b1 ready, b2 ready, b3"], "Surging on a: a=3* b=3");
        check("b x3 surge 3 on a", &[OLD, "b x3: b1 ready, b2 ready, b3 ready"], "Surging on a: a=3* b=3");
    }

    #[test]
    fn the_turn_is_noted_first_and_done_once_the_note_was_seen() {
        let (up, noted) = ("b x3 available 3: b1 ready, b2 ready, b3 ready", NEW);
        check("b x3 surge 3 on a", &[OLD, up], "Surging on a: a=3* b=3*");
        check("b x3 surge 3 on a", &[OLD, noted], "Surging on b: a=3* b=3*");
    }

    #[test]
    fn a_noted_revision_that_is_not_ready_any_more_is_not_turned_to() {
        let faltered = "b x3 noted 2 available 2: b1 ready, b2 ready, b3";
        check("b x3 surge 3 on a", &[OLD, faltered], "Surging on a: a=3* b=3*");
    }

    #[test]
    fn no_turn_before_the_active_revision_is_noted_too() {
        let unnoted = "a x3 available 3: a1 ready, a2 ready, a3 ready";
        check("b x3 surge 3 on a", &[unnoted, NEW], "Surging on a: a=3* b=3*");
    }

    #[test]
    fn where_the_active_revision_serves_nobody_one_gateway_is_enough() {
        let broken = "a x3 noted 1: a1, a2, a3";
        check("b x3 surge 3 on a", &[broken, "b x3 noted 2 available 1: b1 ready"], "Surging on b: a=3* b=3*");
    }

    #[test]
    fn in_small_steps_the_turn_comes_with_the_first_step() {
        check(
            "b x4 surge 1 on a",
            &["a x4 noted 1: a1 ready, a2 ready, a3 ready, a4 ready", "b x1 noted 2 available 1: b1 ready"],
            "Surging on b: a=4* b=1*",
        );
    }

    #[test]
    fn with_two_revisions_draining_the_turn_waits() {
        let busy = ["o x1 noted 8: o1 draining rollout@9 5", "p x1 noted 9: p1 draining rollout@9 5"];
        let expected = "Surging on a: a=3* b=3* o=1* p=1*, drain o1 p1";
        check("b x3 surge 5 on a", &[OLD, NEW, busy[0], busy[1]], expected);
        let one_left = "Surging on b: a=3* b=3* o=0* p=1*, drain p1";
        check("b x3 surge 5 on a", &[OLD, NEW, "o x0 noted 8", busy[1]], one_left);
    }

    #[test]
    fn unless_they_cannot_drain_before_it() {
        let broken = "a x3 noted 10: a1, a2, a3";
        let stuck = ["o x1 noted 8: o1 ready 5", "p x1 noted 9: p1 ready 5"];
        let new = "b x3 noted 11 available 3: b1 ready, b2 ready, b3 ready";
        let expected = "Surging on b: a=3* b=3* o=1* p=1*, hold NobodyToTakeOver";
        check("b x3 surge 5 on a", &[broken, new, stuck[0], stuck[1]], expected);
        let many = "o x3 noted 8: o1 ready 5, o2 ready 5, o3 ready 5";
        let expected = "Surging on b: a=3* b=3* o=3* p=1*, hold NobodyToTakeOver";
        check("b x3 surge 5 on a", &[broken, new, many, stuck[1]], expected);
    }

    #[test]
    fn a_revision_that_was_never_active_goes_when_another_is_wanted() {
        check("c x3 surge 3 on a", &[OLD, "b x3 available 2: b1 ready, b2 ready, b3"], "Surging on a: a=3* c=1");
        check("a x3 on a", &[OLD, "b x3: b1, b2, b3"], "Idle on a: a=3*");
    }

    #[test]
    fn a_revision_that_was_never_active_shrinks_at_once() {
        check("b x1 surge 1 on a", &[OLD, "b x3: b1, b2, b3"], "Surging on a: a=3* b=1");
        let up = "b x3 available 3: b1 ready, b2 ready, b3 ready";
        check("b x1 surge 1 on a", &[OLD, up], "Surging on a: a=3* b=1");
    }

    #[test]
    fn one_that_was_active_before_does_not() {
        let (big, used) = ("a x4 noted 1: a1 ready, a2 ready, a3 ready, a4 ready", "b x3 noted 2: b1, b2, b3");
        check("b x2 surge 1 on a", &[big, used], "Surging on a: a=4* b=3*");
    }

    #[test]
    fn nor_does_any_that_comes_up_for_want_of_room() {
        check("b x3 surge 1 on a", &[OLD, "b x2: b1, b2"], "Surging on a: a=3* b=2");
    }

    #[test]
    fn the_active_fleet_grows_meanwhile_but_gateways_that_are_surplus_wait_for_the_turn() {
        check("b x5 surge 5 on a", &[OLD, "b x3: b1, b2, b3"], "Surging on a: a=5* b=5");
        check("b x1 surge 1 on a", &[OLD], "Surging on a: a=3* b=1");
        let begun = "a x3 noted 1: a1 ready 5, a2 ready 4, a3 scale@9 draining 6";
        check("b x1 surge 1 on a", &[begun], "Surging on a: a=3* b=1, scale in a3");
    }

    #[test]
    fn with_no_gateway_wanted_it_turns_at_once() {
        check("b x0 surge 1 on a", &["a x0 noted 1"], "Surging on a: a=0* b=0");
        check("b x0 surge 1 on a", &["a x0 noted 1", "b x0"], "Surging on a: a=0* b=0*");
        check("b x0 surge 1 on a", &["a x0 noted 1", "b x0 noted 2"], "Surging on b: a=0* b=0*");
        check("b x0 surge 1 on a", &["a x0 noted 1", "b x2 late: b1, b2"], "Surging on a: a=0* b=0");
    }
}

mod fails {
    use super::*;

    #[test]
    fn a_revision_that_does_not_come_up_stays_as_it_is_and_the_active_one_serves_on() {
        check("b x3 surge 2 on a", &[OLD, "b x2 late available 1: b1 ready, b2"], "Failed on a: a=3* b=2");
    }

    #[test]
    fn it_is_not_turned_to_even_if_enough_are_ready() {
        check("b x3 surge 1 on a", &[OLD, "b x2 late available 1: b1 ready, b2"], "Failed on a: a=3* b=2");
    }

    #[test]
    fn the_active_fleet_follows_its_size_meanwhile() {
        check("b x2 surge 2 on a", &[OLD, "b x3 late: b1, b2, b3"], "Failed on a: a=3* b=3, scale in a2");
        check("b x4 surge 4 on a", &[OLD, "b x3 late: b1, b2, b3"], "Failed on a: a=4* b=3");
    }

    #[test]
    fn older_sessions_go_on_moving_to_the_active_revision() {
        let older = "o x1 noted 9: o1 draining rollout@9 5";
        check("b x3 surge 3 on a", &[OLD, older, "b x2 late: b1, b2"], "Failed on a: a=3* b=2 o=1*, drain o1");
    }

    #[test]
    fn the_next_spec_is_begun_and_the_failed_one_goes() {
        check("c x3 surge 6 on a", &[OLD, "b x3 late: b1, b2, b3"], "Surging on a: a=3* c=3");
        check("a x3 surge 6 on a", &[OLD, "b x3 late: b1, b2, b3"], "Idle on a: a=3*");
    }
}

mod drains {
    use super::*;

    #[test]
    fn with_a_full_surge_all_old_gateways_drain_at_once() {
        check("b x3 surge 3 on b", &[OLD, NEW], "Draining on b: a=3* b=3*, drain a1 a2 a3");
    }

    #[test]
    fn with_a_smaller_one_as_many_as_the_new_ones_make_up_for_fewest_connections_first() {
        let new = "b x1 noted 2 available 1: b1 ready 0";
        check("b x3 surge 1 on b", &[OLD, new], "Draining on b: a=3* b=1*, drain a2");
        let begun = "a x3 noted 1: a1 rollout@9 draining 5, a2 ready 4, a3 ready 6";
        check("b x3 surge 1 on b", &[begun, new], "Draining on b: a=3* b=1*, drain a1");
    }

    #[test]
    fn the_next_step_follows_when_one_is_gone() {
        let two = "a x2 noted 1: a1 ready 5, a3 ready 6";
        check("b x3 surge 1 on b", &[two, "b x1 noted 2: b1 ready"], "Draining on b: a=2* b=2*");
        check("b x3 surge 1 on b", &[two, "b x2 noted 2: b1 ready, b2 ready"], "Draining on b: a=2* b=2*, drain a1");
    }

    #[test]
    fn a_drained_gateway_costs_less_first_and_is_removed_once_that_was_seen() {
        let drained = "a x3 noted 1: a1 rollout@9 drained 0, a2 rollout@9 draining 3, a3 rollout@9 draining 4";
        check("b x3 on b", &[drained, NEW], "Draining on b: a=3* b=3*, drain a1 a2 a3, cheap a1");
        let cheap = "a x3 noted 1: a1 rollout@9 drained 0 cheap, a2 rollout@9 draining 3, a3 rollout@9 draining 4";
        check("b x3 on b", &[cheap, NEW], "Draining on b: a=2* b=3*, drain a1 a2 a3, cheap a1");
    }

    #[test]
    fn a_removal_that_was_ordered_is_not_ordered_again() {
        let ordered = "a x2 noted 1: a1 rollout@9 drained 0 cheap, a2 rollout@9 draining 3, a3 rollout@9 draining 4";
        check("b x3 on b", &[ordered, NEW], "Draining on b: a=2* b=3*, drain a2 a3, cheap a1");
    }

    #[test]
    fn old_gateways_that_went_are_not_made_anew() {
        let one = "a x3 noted 1: a1 ready 5, a2 ready ending 4";
        check("b x3 on b", &[one, NEW], "Draining on b: a=1* b=3*, drain a1");
    }

    #[test]
    fn a_gateway_that_does_not_run_is_not_waited_for() {
        check("b x3 on b", &["a x1 noted 1: a1 down"], "Draining on b: a=1* b=3*, cheap a1");
        check("b x3 on b", &["a x1 noted 1: a1 down cheap"], "Draining on b: a=0* b=3*, cheap a1");
    }

    #[test]
    fn one_that_does_not_answer_is_told_of_and_given_up_after_its_time() {
        let silent = |age| format!("a x1 noted 1: a1 ready silent rollout@{age} cheap");
        check("b x3 on b", &[&silent(15), NEW], "Draining on b: a=1* b=3*, drain a1");
        check("b x3 on b", &[&silent(16), NEW], "Draining on b: a=1* b=3*, drain a1, silent a1");
        check("b x3 on b", &[&silent(95), NEW], "Draining on b: a=1* b=3*, drain a1, silent a1");
        check("b x3 on b", &[&silent(96), NEW], "Draining on b: a=0* b=3*, drain a1, cheap a1, silent a1");
    }

    #[test]
    fn one_that_does_not_run_is_not_told_of_as_silent() {
        let down = "a x1 noted 1: a1 down silent rollout@16";
        check("b x3 on b", &[down, NEW], "Draining on b: a=1* b=3*, drain a1, cheap a1");
    }

    #[test]
    fn a_drain_that_hangs_is_given_up_too() {
        let hung = "a x1 noted 1: a1 draining 7 rollout@96";
        check("b x3 on b", &[hung, NEW], "Draining on b: a=1* b=3*, drain a1, cheap a1");
    }

    #[test]
    fn a_word_of_drained_without_a_mark_or_with_sessions_is_not_trusted() {
        check("b x3 on b", &["a x1 noted 1: a1 drained 0", NEW], "Draining on b: a=1* b=3*, drain a1");
        check("b x3 on b", &["a x1 noted 1: a1 drained 2 rollout@9", NEW], "Draining on b: a=1* b=3*, drain a1");
    }

    #[test]
    fn a_gateway_that_is_ending_drains_by_itself() {
        check("b x3 on b", &["a x0 noted 1: a1 ending draining 4", NEW], "Idle on b: a=0* b=3*");
    }

    #[test]
    fn one_that_a_replica_set_would_not_take_first_waits() {
        let apart =
            "a x3 noted 1: a1 ready silent rollout@96 cheap, a2 rollout@96 silent 4 cheap, a3 rollout@9 draining 3";
        let expected = "Draining on b: a=2* b=3*, drain a1 a2 a3, cheap a1 a2, silent a1 a2";
        check("b x3 on b", &[apart, NEW], expected);
    }

    #[test]
    fn of_three_old_revisions_two_drain() {
        let old = ["o x1 noted 1: o1 ready 1", "p x1 noted 2: p1 ready 1", "q x1 noted 3: q1 ready 1"];
        let new = "b x3 noted 4: b1 ready, b2 ready, b3 ready";
        let expected = "Draining on b: b=3* o=1* p=1* q=1*, drain o1 p1";
        check("b x3 surge 3 on b", &[old[0], old[1], old[2], new], expected);
        let begun = ["o x1 noted 1: o1 ready 1", "p x1 noted 2: p1 rollout@9 1", "q x1 noted 3: q1 rollout@9 1"];
        let expected = "Draining on b: b=3* o=1* p=1* q=1*, drain p1 q1";
        check("b x3 surge 3 on b", &[begun[0], begun[1], begun[2], new], expected);
    }

    #[test]
    fn five_old_revisions_are_kept_to_go_back_to() {
        let old: Vec<_> = (1..=7).map(|at| format!("o{at} x0 noted {at}")).collect();
        let mut seen: Vec<_> = old.iter().map(String::as_str).collect();
        seen.push("b x1 noted 9: b1 ready");
        check("b x1 on b", &seen, "Idle on b: b=1* o3=0* o4=0* o5=0* o6=0* o7=0*");
        seen[0] = "o1 x0 noted 1: z ending 3";
        check("b x1 on b", &seen, "Idle on b: b=1* o1=0* o3=0* o4=0* o5=0* o6=0* o7=0*");
    }
}

mod goes_back {
    use super::*;

    const DRAINING: &str =
        "a x3 noted 1: a1 rollout@9 draining 5, a2 rollout@9 draining 4, a3 rollout@9 drained cheap 0";

    #[test]
    fn the_old_gateways_are_called_back_and_the_turn_waits_for_them() {
        check("a x3 surge 3 on b", &[DRAINING, NEW], "Surging on b: a=3* b=3*, back a1 a2 a3");
    }

    #[test]
    fn once_they_are_ready_it_turns_back_and_the_others_drain() {
        check("a x3 surge 3 on b", &[OLD, NEW], "Surging on a: a=3* b=3*");
        check("a x3 surge 3 on a", &[OLD, NEW], "Draining on a: a=3* b=3*, drain b1 b2 b3");
    }

    #[test]
    fn those_that_are_gone_are_made_anew() {
        check("a x3 surge 3 on b", &["a x1 noted 1: a1 rollout@9 5", NEW], "Surging on b: a=3* b=3*, back a1");
        check("a x3 surge 3 on b", &["a x0 noted 1", NEW], "Surging on b: a=3* b=3*");
    }

    #[test]
    fn in_the_middle_of_small_steps_what_runs_is_enough() {
        let (old, new) = ("a x3 noted 1 available 3: a1 ready, a2 ready, a3 ready", "b x2 noted 2: b1 ready, b2 ready");
        check("a x4 surge 1 on b", &[old, new], "Surging on a: a=3* b=2*");
        check("a x4 surge 1 on a", &[old, new], "Draining on a: a=3* b=2*, drain b1");
    }

    #[test]
    fn gateways_marked_but_not_told_yet_do_not_count_as_ready() {
        let marked = "a x3 noted 1 available 3: a1 ready rollout@1, a2 ready rollout@1, a3 ready rollout@1";
        check("a x3 surge 3 on b", &[marked, NEW], "Surging on b: a=3* b=3*, back a1 a2 a3");
    }
}

mod scales {
    use super::*;

    #[test]
    fn out_at_once() {
        check("a x5 on a", &[OLD], "Idle on a: a=5*");
    }

    #[test]
    fn out_within_the_surge_while_old_gateways_are_there() {
        let (old, new) = ("a x3 noted 1: a1 ready, a2 ready, a3 ready", "b x1 noted 2: b1 ready");
        check("b x4 surge 2 on b", &[old, new], "Draining on b: a=3* b=3*");
        let crowd = "a x5 noted 1: a1 ready, a2 ready, a3 ready, a4 ready, a5 ready";
        let expected = "Draining on b: a=5* b=1*, hold NobodyToTakeOver";
        check("b x3 surge 1 on b", &[crowd, "b x0 noted 2"], expected);
    }

    #[test]
    fn in_by_the_gateway_with_the_fewest_connections() {
        check("a x2 on a", &[OLD], "ScalingIn on a: a=3*, scale in a2");
        check("a x1 on a", &[OLD], "ScalingIn on a: a=3*, scale in a1 a2");
        let unknown = "a x3 noted 1: a1 ready 5, a2 ready silent, a3 ready 6";
        check("a x2 on a", &[unknown], "ScalingIn on a: a=3*, scale in a1");
    }

    #[test]
    fn in_by_those_that_have_begun_then_those_that_serve_nobody_then_those_that_must_leave_anyway() {
        let begun = "a x3 noted 1: a1 ready 5, a2 ready 4, a3 draining scale@9 6";
        check("a x2 on a", &[begun], "ScalingIn on a: a=3*, scale in a3");
        let marked = "a x3 noted 1: a1 ready 5, a2 ready 4, a3 ready scale@1 6";
        check("a x2 on a", &[marked], "ScalingIn on a: a=3*, scale in a3");
        let unready = "a x3 noted 1: a1 ready 5, a2 ready 4, a3 9";
        check("a x2 on a", &[unready], "ScalingIn on a: a=3*, scale in a3");
        let leaving = "a x3 noted 1: a1 ready 5, a2 ready 4, a3 ready leaving 9";
        check("a x2 on a", &[leaving], "ScalingIn on a: a=3*, scale in a3");
    }

    #[test]
    fn in_when_drained_and_cheap() {
        let drained = "a x3 noted 1: a1 ready 5, a2 ready 4, a3 drained scale@9 0";
        check("a x2 on a", &[drained], "ScalingIn on a: a=3*, scale in a3, cheap a3");
        let cheap = "a x3 noted 1: a1 ready 5, a2 ready 4, a3 drained scale@9 0 cheap";
        check("a x2 on a", &[cheap], "ScalingIn on a: a=2*, scale in a3, cheap a3");
        let ordered = "a x2 noted 1: a1 ready 5, a2 ready 4, a3 drained scale@9 0 cheap";
        check("a x2 on a", &[ordered], "Idle on a: a=2*, cheap a3");
    }

    #[test]
    fn in_by_those_that_do_not_exist_yet() {
        let growing = "a x4 noted 1: a1 ready 5, a2 ready 4";
        check("a x1 on a", &[growing], "ScalingIn on a: a=2*, scale in a2");
        check("a x3 on a", &[growing], "Idle on a: a=3*");
    }

    #[test]
    fn in_not_before_the_revision_is_noted_as_active() {
        let unnoted = "a x3: a1 ready 5, a2 ready 4, a3 drained scale@9 0 cheap";
        check("a x2 on a", &[unnoted], "ScalingIn on a: a=3*, scale in a3, cheap a3");
    }

    #[test]
    fn one_that_drains_by_nobodys_order_is_called_back() {
        check("a x2 on a", &["a x2 noted 1: a1 ready 5, a2 draining 4"], "Idle on a: a=2*, back a2");
    }

    #[test]
    fn a_spike_calls_them_back() {
        let begun = "a x3 noted 1: a1 ready 5, a2 draining scale@9 4, a3 drained scale@9 0 cheap";
        check("a x3 on a", &[begun], "Idle on a: a=3*, back a2 a3");
        check("a x2 on a", &[begun], "ScalingIn on a: a=2*, scale in a3, back a2, cheap a3");
    }

    #[test]
    fn to_nothing() {
        check("a x0 on a", &[OLD], "ScalingIn on a: a=3*, scale in a1 a2 a3");
        check("a x0 on a", &["a x1 noted 1: a1 drained scale@9 cheap"], "ScalingIn on a: a=0*, scale in a1, cheap a1");
        check("a x0 on a", &["a x0 noted 1"], "Idle on a: a=0*");
    }

    #[test]
    fn one_that_does_not_run_is_removed_without_a_word() {
        check("a x1 on a", &["a x2 noted 1: a1 ready 5, a2 down"], "ScalingIn on a: a=2*, cheap a2");
        check("a x1 on a", &["a x2 noted 1: a1 down, a2 down cheap"], "ScalingIn on a: a=2*, cheap a1");
    }

    #[test]
    fn in_during_a_rollout_leaves_enough_for_the_old_sessions() {
        let new = "b x3 noted 2: b1 ready 2, b2 ready 1, b3 ready 3";
        let expected = "Draining on b: a=3* b=3*, drain a1 a2 a3, scale in b2";
        check("b x2 surge 2 on b", &[OLD, new], expected);
    }
}

mod leaves_nodes {
    use super::*;

    #[test]
    fn gateways_on_a_node_that_is_emptied_drain_and_are_not_removed_by_us() {
        let seen = "a x2 noted 1: a1 ready 5, a2 ready leaving 4";
        check("a x2 on a", &[seen], "Idle on a: a=2*, off node a2");
        let drained = "a x2 noted 1: a1 ready 5, a2 drained leaving node@9 0 cheap";
        check("a x2 on a", &[drained], "Idle on a: a=2*, off node a2");
    }

    #[test]
    fn not_before_another_can_take_over() {
        check("a x1 on a", &["a x1 noted 1: a1 ready leaving 4"], "Idle on a: a=1*");
        check("a x2 on a", &["a x2 noted 1: a1 ready leaving 4, a2"], "Idle on a: a=2*");
        check("a x2 on a", &["a x2 noted 1: a1 ready leaving 4, a2 ready leaving 4"], "Idle on a: a=2*");
    }

    #[test]
    fn they_come_back_when_the_node_does() {
        let back = "a x2 noted 1: a1 ready 5, a2 draining node@9 4";
        check("a x2 on a", &[back], "Idle on a: a=2*, back a2");
    }

    #[test]
    fn also_while_another_revision_comes_up() {
        let seen = "a x2 noted 1: a1 ready 5, a2 ready leaving 4";
        check("b x2 surge 2 on a", &[seen, "b x2: b1, b2"], "Surging on a: a=2* b=2, off node a2");
    }

    #[test]
    fn one_of_an_old_revision_drains_for_the_rollout() {
        let old = "a x1 noted 1: a1 leaving node@9 draining 5";
        check("b x3 on b", &[old, NEW], "Draining on b: a=1* b=3*, drain a1");
    }
}

mod holds {
    use super::*;

    const BEGUN: &str = "a x3 noted 1: a1 rollout@9 draining 5, a2 rollout@9 drained 0 cheap, a3 ready 6";

    #[test]
    fn paused_nothing_is_created_moved_or_removed() {
        check("c x5 paused on a", &[OLD, "b x3: b1, b2"], "Paused on a: a=3* b=3, hold Paused");
        check("b x3 paused on b", &[BEGUN, NEW], "Paused on b: a=3* b=3*, back a1 a2, hold Paused");
    }

    #[test]
    fn a_rollout_that_lost_more_than_its_budget_stops_with_both_revisions() {
        check("b x3 budget 2 dropped 2 on b", &[BEGUN, NEW], "Draining on b: a=2* b=3*, drain a1 a2 a3, cheap a2");
        let held = "Paused on b: a=3* b=3*, back a1 a2, hold LossBudget";
        check("b x3 budget 2 dropped 3 on b", &[BEGUN, NEW], held);
        let fewer = "a x3 noted 1: a1 rollout@9 draining 5";
        check("b x3 budget 2 dropped 3 on b", &[fewer, NEW], "Paused on b: a=3* b=3*, back a1, hold LossBudget");
        check("b x3 dropped 3 on b", &[BEGUN, NEW], "Draining on b: a=2* b=3*, drain a1 a2 a3, cheap a2");
    }

    #[test]
    fn the_budget_holds_neither_undo_nor_a_fleet_that_has_changed() {
        check("a x3 budget 2 dropped 3 surge 3 on b", &[OLD, NEW], "Surging on a: a=3* b=3*");
        check("b x3 budget 2 dropped 3 on b", &["a x0 noted 1", NEW], "Idle on b: a=0* b=3*");
        let older = "o x1 noted 9: o1 draining rollout@9 5";
        let expected = "Surging on a: a=3* c=3 o=1*, drain o1";
        check("c x3 surge 4 budget 2 dropped 3 on a", &[OLD, older], expected);
    }

    #[test]
    fn the_budget_does_not_hold_a_scale_in() {
        let expected = "Paused on b: a=3* b=3*, scale in b1, back a1 a2, hold LossBudget";
        check("b x2 budget 2 dropped 3 on b", &[BEGUN, NEW], expected);
    }

    #[test]
    fn with_nobody_to_take_over_who_drains_is_called_back() {
        let expected = "Draining on b: a=3* b=3*, back a1 a2, hold NobodyToTakeOver";
        check("b x3 on b", &[BEGUN, "b x3 noted 2: b1, b2, b3"], expected);
        let begun = "a x3 noted 1: a1 rollout@9 draining 5, a2 rollout@9 draining 3, a3 rollout@9 draining 6";
        let expected = "Draining on b: a=3* b=3*, back a1 a2 a3, hold NobodyToTakeOver";
        check("b x3 on b", &[begun, "b x3 noted 2: b1, b2, b3"], expected);
        let down = "a x2 noted 1: a1 rollout@9 draining 5, a2 down";
        let expected = "Draining on b: a=2* b=3*, back a1, cheap a2, hold NobodyToTakeOver";
        check("b x3 on b", &[down, "b x3 noted 2: b1, b2, b3"], expected);
        let alone = "a x2 noted 1: a1 4, a2 draining scale@9 5";
        check("a x1 on a", &[alone], "ScalingIn on a: a=2*, back a2, hold NobodyToTakeOver");
    }

    #[test]
    fn drains_that_have_begun_go_on_while_a_new_gateway_falters_for_a_moment() {
        let new = |third: &str| format!("b x3 noted 2: b1 ready, b2 ready, b3 {third}");
        let all = "a x3 noted 1: a1 rollout@9 draining 5, a2 rollout@9 draining 3, a3 rollout@9 draining 6";
        let (go_on, one_back) =
            ("Draining on b: a=3* b=3*, drain a1 a2 a3", "Draining on b: a=3* b=3*, drain a1 a2, back a3");
        check("b x3 on b", &[all, &new("falters@29")], go_on);
        check("b x3 on b", &[all, &new("falters@30")], one_back);
        check("b x3 on b", &[all, &new("")], one_back);
        check("b x3 on b", &[all, &new("falters@5 down")], one_back);
        check("b x3 on b", &[all, &new("falters@5 ending")], one_back);
        check("b x3 on b", &[all, &new("falters@5 draining")], "Draining on b: a=3* b=3*, drain a1 a2, back a3 b3");
        let waiting = "a x3 noted 1: a1 rollout@9 draining 5, a2 rollout@9 draining 3, a3 ready 6";
        check("b x3 on b", &[waiting, &new("falters@5")], "Draining on b: a=3* b=3*, drain a1 a2");
        let nobody = "b x3 noted 2: b1 falters@5, b2 falters@5, b3 falters@5";
        check("b x3 on b", &[all, nobody], "Draining on b: a=3* b=3*, back a1 a2 a3, hold NobodyToTakeOver");
    }

    #[test]
    fn with_no_gateway_wanted_nobody_need_take_over() {
        check("b x0 on b", &[OLD, "b x0 noted 2"], "Draining on b: a=3* b=0*, drain a1 a2 a3");
    }
}

#[test]
fn the_rate_is_the_fleets_and_nobodys_when_nothing_moves() {
    let moving = plan("b x3 on b", &[OLD, NEW]);
    assert_eq!(moving.connections_per_second, 50, "at least fifty");
    let total: u32 = moving.drains.values().map(|order| order.connections_per_second).sum();
    assert_eq!(total, 49, "shares are rounded down");
    assert_eq!(plan("b x3 on b", &[NEW]).connections_per_second, 0);
    let drained = plan("b x3 on b", &["a x1 noted 1: a1 drained 0 rollout@9", NEW]);
    assert_eq!((drained.connections_per_second, drained.drains["a1"].connections_per_second), (0, 1));
}
