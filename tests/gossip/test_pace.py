"""When a peer trains its next round."""

from __future__ import annotations

from random import Random

from gossip.pace import Pace

OTHERS = ["b", "c"]


def shown(pace: Pace, now: float = 0.0) -> Pace:
    pace.begin_round()
    pace.show(now)
    return pace


def test_before_its_first_round_a_peer_waits_for_nobody() -> None:
    assert Pace(2.0).wait_until(OTHERS, 0.0) is None


def test_a_round_waits_for_all_others() -> None:
    pace = shown(Pace(2.0))
    assert pace.wait_until(OTHERS, 0.0) == 2.0
    pace.hear("b")
    assert pace.wait_until(OTHERS, 0.5) == 2.0
    pace.hear("c")
    assert pace.wait_until(OTHERS, 0.5) is None


def test_a_model_that_came_while_we_trained_counts() -> None:
    pace = Pace(2.0)
    pace.begin_round()
    pace.hear("b")
    pace.hear("c")
    pace.show(1.0)
    assert pace.wait_until(OTHERS, 1.0) is None


def test_one_that_does_not_keep_up_costs_one_wait_and_no_more() -> None:
    pace = shown(Pace(2.0))
    pace.hear("b")
    assert pace.wait_until(OTHERS, 2.0) is None
    shown(pace, 2.0)
    pace.hear("b")
    assert pace.wait_until(OTHERS, 2.0) is None


def test_one_that_is_heard_of_again_is_waited_for_again() -> None:
    pace = shown(Pace(2.0))
    assert pace.wait_until(["b"], 3.0) is None
    pace.hear("b")
    shown(pace, 4.0)
    assert pace.wait_until(["b"], 4.0) == 6.0


def test_one_that_has_gone_is_not_waited_for() -> None:
    pace = shown(Pace(2.0))
    pace.hear("b")
    assert pace.wait_until(["b"], 0.1) is None


def test_nobody_waits_in_a_circle() -> None:
    """Peers with endless patience, whose models take any time to arrive: somebody can always go on."""
    for seed in range(200):
        rng = Random(seed)
        names = ["a", "b", "c", "d"][: rng.randint(2, 4)]
        paces = {name: Pace(float("inf")) for name in names}
        rounds = dict.fromkeys(names, 0)
        training: set[str] = set()
        flying: list[tuple[str, str]] = []  # receiver, owner
        for _ in range(400):
            ready = [
                ("begin", name, "")
                for name in names
                if name not in training
                and paces[name].wait_until([one for one in names if one != name], 0.0) is None
            ]
            ready += [("show", name, "") for name in sorted(training)]
            ready += [("hear", receiver, owner) for receiver, owner in flying]
            assert ready, (seed, rounds)
            what, name, owner = rng.choice(ready)
            if what == "begin":
                paces[name].begin_round()
                training.add(name)
            elif what == "show":
                training.remove(name)
                rounds[name] += 1
                paces[name].show(0.0)
                flying += [(one, name) for one in names if one != name]
            else:
                flying.remove((name, owner))
                paces[name].hear(owner)
        assert min(rounds.values()) > 0
        assert max(rounds.values()) - min(rounds.values()) <= len(names)
