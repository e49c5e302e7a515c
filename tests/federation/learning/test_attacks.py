"""What hostile workers cost a whole federation: `bin/benchmark attacks` with its first seed."""

from __future__ import annotations

from tests.benchmarks.attacks import MOST_LOST, ROUNDS, figures, lost


def test_two_hostile_workers_of_ten_cost_at_most_two_points_but_with_fedavg() -> None:
    honest, *attacked = figures()

    assert honest.accuracies[-1] > 0.6, "there is something to lose"
    robust = [one for one in attacked if one.strategy != "fedavg"]
    assert {
        (one.attack, one.strategy): lost(one, honest) for one in robust if lost(one, honest) > MOST_LOST
    } == {}
    hundredfold = next(one for one in attacked if (one.attack, one.strategy) == ("hundredfold", "fedavg"))
    assert max(honest.accuracies[i] - hundredfold.accuracies[i] for i in range(ROUNDS)) > 10 * MOST_LOST
