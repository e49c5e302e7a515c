"""What other systems got wrong, class by class, and the tests that keep it from happening here."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from gossip.clock import MAX_ADVANCE
from gossip.membership import Membership
from gossip.messages import PeerInfo
from gossip.roster import MAX_GONE
from tests.gossip.test_membership import membership
from tests.simulation.gossip_cells import idle_traffic
from tests.simulation.gossip_net import Net, peer_address, peer_name

TEN_YEARS_SECONDS = 10 * 365 * 24 * 3600

LESSONS = {
    "a replica's id is used again with a lost or old clock (riak_kv#679, #1865; automerge-classic#145)": (
        "test_clock.py::test_no_time_is_used_twice_over_any_number_of_crashes",
        "test_identity.py::test_lives_from_one_copy_of_a_disk_differ",
        "test_identity.py::test_a_peer_without_a_disk_takes_the_life_after_the_last_that_others_saw",
        "test_models.py::test_once_we_have_spoken_a_ghost_is_outbid",
        "test_damage.py::test_a_lost_disk",
        "test_damage.py::test_an_old_copy_of_the_disk",
        "test_peer.py::test_a_peer_with_an_old_copy_of_its_disk_uses_no_timestamp_twice",
    ),
    "two processes of one name (riak_kv#1865, yrs#361)": (
        "test_namesake.py::test_who_answers_under_our_name_in_a_later_life_ends_ours",
        "test_membership.py::test_who_asks_in_an_earlier_life_is_told_of_the_later_one",
        "test_peer.py::test_of_two_processes_of_one_name_one_ends_and_says_why",
    ),
    "the order of writes has ties (delta-enabled-crdts#7, rust-crdt#95)": (
        "test_crdt.py::test_the_order_is_total",
        "test_crdt.py::test_two_values_under_one_timestamp_end_as_one",
    ),
    "poisoned time (meshguard#118, #121; rag-rat#1176)": (
        "test_clock.py::test_a_time_that_no_clock_shows_is_refused",
        "test_clock.py::test_a_time_too_far_ahead_is_not_obeyed",
        "test_clock.py::test_one_peer_alone_is_not_believed_a_late_time_and_two_are",
        "test_view.py::test_a_liar_harms_nobody_s_entries_or_clock",
        "test_view.py::test_one_that_is_no_peer_moves_no_clock_where_only_one_peer_is_known",
    ),
    "what was deleted comes back (scylladb#3560, riak_kv#311, akka#21647)": (
        "test_crdt.py::test_a_collected_key_does_not_come_back",
        "test_crdt.py::test_a_tombstone_wins_over_a_put_that_comes_late",
        "test_models.py::test_a_withdrawn_model_is_gone_and_stays_gone",
    ),
    "dead peers come back (chitchat#94, #155, #161; piko#314)": (
        "test_roster.py::test_an_old_word_does_not_bring_back_who_is_gone",
        "test_roster.py::test_those_that_went_first_are_forgotten_first",
        "test_membership.py::test_an_earlier_life_s_roster_is_taken_up_again",
    ),
    "a restart of all leaves some dead (memberlist#311, #345; libnetwork#2256)": (
        "test_membership.py::test_one_who_comes_back_with_an_old_life_is_told_that_it_is_dead",
        "test_membership.py::test_a_restart_of_all_at_once_leaves_nobody_dead",
    ),
    "one sick observer, or half a partition, brings down others (consul#5928, #5567)": (
        "test_membership.py::test_after_standing_still_nobody_is_blamed",
        "test_membership.py::test_one_suspected_after_we_stood_still_has_no_more_time_than_others",
        "test_membership.py::test_one_that_hears_nobody_blames_itself_and_kills_nobody",
        "test_membership.py::test_two_that_cannot_reach_each_other_are_vouched_for_by_the_others",
    ),
    "a partition does not heal (swift-cluster-membership#37)": (
        "test_membership.py::test_a_partition_heals_by_itself",
        "test_peer.py::test_a_partition_heals_and_both_halves_agree",
    ),
    "a limit that was meant to protect locks out (scylladb#5164, #5801; evolu#709)": (
        "test_clock.py::test_a_snapshot_of_our_own_is_obeyed_however_late",
        "test_lessons.py::test_after_ten_years_a_newcomer_and_one_who_restarts_are_taken_in",
    ),
    "a message grows beyond what is taken (akka#22327, actor-ts#691, chitchat#170)": (
        "test_view.py::test_a_message_of_infos_keeps_to_its_budget_and_the_rest_follows",
        "test_view.py::test_the_estimate_of_sizes_is_never_below_the_truth",
        "test_view.py::test_a_large_model_comes_in_pieces",
    ),
    "what matters waits behind what is large (chitchat#119)": (
        "test_view.py::test_peers_come_before_models_and_new_models_before_newer_ones",
    ),
    "state that only grows (go-ds-crdt#228, y-crdt#445, akka#27151, riak_kv#996)": (
        "test_crdt.py::test_what_is_collected_frees_its_memory",
        "test_crdt.py::test_many_lives_leave_one_row",
        "test_models.py::test_the_number_of_owners_is_bounded",
        "test_lessons.py::test_ten_thousand_peers_that_came_and_went_leave_a_bounded_memory",
    ),
    "an address is taken over (memberlist#157, consul#733)": (
        "test_roster.py::test_an_address_changes_only_with_a_newer_incarnation",
        "test_roster.py::test_with_seals_only_the_owner_gives_an_address",
    ),
    "models are sent again and again (p2pfl#86)": (
        "test_view.py::test_what_is_held_is_never_sent_again",
        "test_peer.py::test_a_network_that_has_converged_sends_no_models",
    ),
    "heartbeats of all to all (p2pfl#87)": (
        "test_lessons.py::test_what_a_peer_sends_does_not_grow_with_the_number_of_peers",
    ),
    "one that is slow holds up all others, or is left behind (disco#1109)": (
        "test_pace.py::test_one_that_does_not_keep_up_costs_one_wait_and_no_more",
        "test_pace.py::test_one_that_is_heard_of_again_is_waited_for_again",
        "test_peer.py::test_a_peer_that_stands_still_holds_up_nobody",
    ),
    "a frame of a stranger ends the listener, or fills its memory (ddht#265, linehaul#35, memberlist#357)": (
        "../trioactor/test_connection.py::test_strange_bytes_are_turned_away",
        "../trioactor/test_connection.py::test_a_peer_that_breaks_the_protocol_is_cut_off_and_nobody_else",
        "../trioactor/test_codec.py::test_a_hostile_frame_is_refused_and_costs_little_memory",
        "../trioactor/test_codec.py::test_no_tag_from_0_to_66000_builds_anything",
    ),
    "two networks mix, for an address has passed from one to the other": (
        "test_peer.py::test_two_networks_do_not_mix_although_one_has_an_address_of_the_other",
    ),
    "what nobody holds any more keeps out what all hold (seed 1 of our own seasons)": (
        "test_models.py::test_a_newer_model_that_was_given_up_does_not_keep_out_the_best_that_is_left",
    ),
}


@pytest.mark.parametrize("lesson", LESSONS)
def test_each_lesson_has_its_tests(lesson: str) -> None:
    here = Path(__file__).parent
    for test in LESSONS[lesson]:
        file, name = test.split("::")
        names = {getattr(node, "name", "") for node in ast.walk(ast.parse((here / file).read_text()))}
        assert name in names, f"{test} is not there"


# --- what has no better place ---------------------------------------------------------------------


def test_after_ten_years_a_newcomer_and_one_who_restarts_are_taken_in() -> None:
    """Clocks far beyond what one message may move, incarnations and all: the bounds must not lock out."""
    net = Net(5, probing=True, seed=5)
    net.now = TEN_YEARS_SECONDS
    net.seeds = [peer_address(0), peer_address(1)]
    for node in net.nodes.values():
        node.ahead = float(TEN_YEARS_SECONDS)
        node.clock.restore(TEN_YEARS_SECONDS + 100 * MAX_ADVANCE)
        net.publish(node.name, node.name.encode())
    net.begin_anew("ten years")
    net.run(8)
    gone = net.crash(peer_name(3))
    net.start(gone.name, gone.address)  # its disk is lost, so it does not know how late it is
    newcomer = net.start("newcomer", peer_address(9), surveyed=False)
    net.publish("newcomer", b"of a newcomer")
    net.run(60)
    assert len({node.view.models.table.summary() for node in net.nodes.values()}) == 1
    assert len(newcomer.view.all_models()) == 6
    assert all(len(node.view.membership.live) == 5 for node in net.nodes.values())


def test_ten_thousand_peers_that_came_and_went_leave_a_bounded_memory() -> None:
    a: Membership = membership()
    for number in range(10_000):
        info = PeerInfo(f"guest-{number}", "10.1.0.1", 7000, 1)
        a.learn(info, 0.0)
        a.learn(replace(info, status="left", rebuttals=1), 0.0)
        a.take_changes()
    assert len(a.roster) <= MAX_GONE + 1
    assert a.live == []


def test_what_a_peer_sends_does_not_grow_with_the_number_of_peers() -> None:
    assert idle_traffic(64, 40).bytes_per_second < 1.2 * idle_traffic(16, 40).bytes_per_second
