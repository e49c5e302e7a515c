"""One suite that every strategy must pass, then what each promises by itself."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from federation.learning import (
    STRATEGIES,
    Budget,
    Contribution,
    CoordinateMedian,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedYogi,
    Krum,
    MultiKrum,
    ParamsError,
    Region,
    RegionMeta,
    State,
    Strategy,
    StrategyError,
    TrimmedMean,
    federated_averaging,
    generator_for,
    load_params,
    make_strategy,
    model_sha256,
    save_params,
    strategy_parameters,
    train_together,
)

every_strategy = pytest.mark.parametrize(
    "strategy", [make_strategy(name) for name in STRATEGIES], ids=STRATEGIES
)
GLOBAL = {"W": np.array([[1, -2], [0.5, 0]], np.float32), "b": np.array([3, 0.25], np.float32)}


def some_contributions(count: int = 7, seed: int = 0, spread: float = 1.0) -> list[Contribution]:
    """Models around the global one, from workers with different numbers of samples."""
    chance = generator_for(seed, "contributions")
    return [
        Contribution(
            f"worker-{number}",
            {
                name: (array + spread * chance.normal(size=array.shape)).astype(np.float32)
                for name, array in GLOBAL.items()
            },
            int(chance.integers(1, 1000)),
        )
        for number in range(count)
    ]


def fingerprint(state: State) -> str:
    return model_sha256(state.to_arrays())


def after_rounds(strategy: Strategy, rounds: int) -> State:
    state = strategy.start(GLOBAL)
    for number in range(rounds):
        state = strategy.combine(state, some_contributions(seed=number))
    return state


def scalar(*values: float, samples: int = 1) -> list[Contribution]:
    """Models of one number, from workers named a, b, c, ..."""
    return [Contribution(chr(ord("a") + k), {"w": array(value)}, samples) for k, value in enumerate(values)]


def array(*numbers: float) -> NDArray[np.float32]:
    return np.array(numbers, np.float32)


def value_of(state: State) -> float:
    return float(state.params["w"][0])


# --- the suite ------------------------------------------------------------------------------


@every_strategy
def test_a_round_has_the_same_bytes_whatever_the_order(strategy: Strategy) -> None:
    state = after_rounds(strategy, 1)
    given_ = some_contributions(9, seed=5)
    shuffled = [given_[place] for place in generator_for(1, "order").permutation(9)]

    assert fingerprint(strategy.combine(state, shuffled)) == fingerprint(strategy.combine(state, given_))


@every_strategy
def test_any_iterable_will_do(strategy: Strategy) -> None:
    state = strategy.start(GLOBAL)

    from_iterator = strategy.combine(state, iter(some_contributions()))

    assert fingerprint(from_iterator) == fingerprint(strategy.combine(state, some_contributions()))


@every_strategy
def test_a_strategy_is_frozen(strategy: Strategy) -> None:
    names = [field.name for field in fields(strategy)]  # type: ignore[arg-type]  # all of ours are dataclasses
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        setattr(strategy, names[0] if names else "anything", 1)


@every_strategy
def test_nothing_that_goes_in_is_changed(strategy: Strategy) -> None:
    state, given_ = after_rounds(strategy, 1), some_contributions()
    before = fingerprint(state), [model_sha256(one.params) for one in given_]

    strategy.combine(state, given_)

    assert (fingerprint(state), [model_sha256(one.params) for one in given_]) == before


@every_strategy
def test_the_model_keeps_its_names_shapes_and_type(strategy: Strategy) -> None:
    state = after_rounds(strategy, 3)

    for kept in (state.params, *state.memory.values()):
        assert {name: kept[name].shape for name in sorted(kept)} == {"W": (2, 2), "b": (2,)}
        assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in kept.values())


@every_strategy
def test_without_contributions_nothing_happens(strategy: Strategy) -> None:
    state = after_rounds(strategy, 1)

    assert strategy.combine(state, []) is state


@every_strategy
def test_a_model_that_everyone_agrees_on_stays(strategy: Strategy) -> None:
    """Delta is 0, the median is the one value, every distance is 0."""
    agreed = [Contribution(f"worker-{number}", GLOBAL, 10) for number in range(7)]

    state = strategy.combine(strategy.start(GLOBAL), agreed)

    assert model_sha256(state.params) == model_sha256(GLOBAL)


@every_strategy
def test_a_run_can_go_on_from_a_file(strategy: Strategy, tmp_path: Path) -> None:
    """State is all there is: stopped and resumed is the same bytes as never stopped."""
    path = tmp_path / "state.npz"
    state = after_rounds(strategy, 2)
    save_params(path, state.to_arrays())

    resumed = strategy.combine(State.from_arrays(load_params(path)), some_contributions(seed=9))

    assert fingerprint(resumed) == fingerprint(strategy.combine(state, some_contributions(seed=9)))


def spoilt(**changes: Any) -> list[Contribution]:
    given_ = some_contributions()
    return [replace(given_[0], **changes), *given_[1:]]


@every_strategy
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"params": {"W": GLOBAL["W"]}}, "weights named W, the model's are W, b"),
        ({"params": {**GLOBAL, "b": array(1, 2, 3)}}, r"'b' has shape \(3,\), the model's has \(2,\)"),
        ({"params": {**GLOBAL, "b": array(1, np.nan)}}, "'b' holds NaN or infinity in 1 of 2"),
        ({"params": {**GLOBAL, "b": array(1, -np.inf)}}, "'b' holds NaN or infinity"),
        ({"params": {**GLOBAL, "b": np.zeros(2)}}, "'b' is float64"),
        ({"samples": 0}, "num_samples=0"),
        ({"worker_id": "worker-3"}, "worker 'worker-3' contributes twice"),
    ],
)
def test_what_cannot_be_averaged_is_refused(strategy: Strategy, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ParamsError, match=words):
        strategy.combine(strategy.start(GLOBAL), spoilt(**changes))


@every_strategy
def test_a_federation_learns_with_every_strategy(strategy: Strategy) -> None:
    """Nine workers with data of one kind; each strategy with its defaults."""

    def blobs(seed: int) -> Region:
        chance = generator_for(seed, "blobs")
        y = chance.integers(0, 3, 60)
        X = (chance.normal(size=(60, 4)) + 3 * np.eye(3, 4)[y]).astype(np.float32)
        return Region(X, y, RegionMeta(class_names=("a", "b", "c")))

    workers, evaluation = {f"worker-{seed}": blobs(seed) for seed in range(9)}, blobs(99)

    model = train_together(workers, Budget(rounds=10, epochs=1, batch_size=8), strategy=strategy)

    assert model.evaluate(evaluation.X, evaluation.y).accuracy > 0.9


# --- toward the mean --------------------------------------------------------------------------


def test_fedavg_is_the_mean_by_samples_to_the_byte() -> None:
    given_ = some_contributions()

    state = FedAvg().combine(FedAvg().start(GLOBAL), given_)

    mean = federated_averaging([(one.params, one.samples) for one in given_])
    assert model_sha256(state.params) == model_sha256(mean)


def test_fedavg_goes_as_far_as_it_is_told() -> None:
    half = FedAvg(server_learning_rate=0.5)

    state = half.combine(half.start({"w": array(1)}), scalar(3, 7))

    assert value_of(state) == 1 + 0.5 * (5 - 1)


def test_fedavgm_keeps_its_direction() -> None:
    """v <- 0.5 v + delta; w <- w + v. By hand: v = 4, w = 4; then delta = -4: v = -2, w = 2."""
    strategy = FedAvgM(momentum=0.5)

    state = strategy.combine(strategy.start({"w": array(0)}), scalar(4))
    assert value_of(state) == 4
    state = strategy.combine(state, scalar(0))
    assert value_of(state) == 2


def test_fedavgm_without_momentum_is_fedavg() -> None:
    plain, without = FedAvg(), FedAvgM(momentum=0)

    for name in GLOBAL:
        np.testing.assert_allclose(
            after_rounds(without, 3).params[name], after_rounds(plain, 3).params[name], rtol=1e-6
        )


ADAPTIVE: dict[str, tuple[Strategy, Callable[[float, float, float], float]]] = {
    "adagrad": (FedAdagrad(server_learning_rate=0.3, beta1=0.2, tau=0.1), lambda v, d, _: v + d * d),
    "adam": (
        FedAdam(server_learning_rate=0.3, beta1=0.2, beta2=0.7, tau=0.1),
        lambda v, d, b: b * v + (1 - b) * d * d,
    ),
    "yogi": (
        FedYogi(server_learning_rate=0.3, beta1=0.2, beta2=0.7, tau=0.1),
        lambda v, d, b: v - (1 - b) * d * d * float(np.sign(v - d * d)),
    ),
}


@pytest.mark.parametrize("name", ADAPTIVE)
@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=6))
def test_adaptive_steps_are_algorithm_2_of_the_paper(name: str, targets: list[float]) -> None:
    """Written again for one number: v starts at tau^2, and nothing corrects a bias."""
    strategy, second_moment = ADAPTIVE[name]
    w, m, v = 1.0, 0.0, 0.1**2
    state = strategy.start({"w": array(w)})

    for target in targets:
        state = strategy.combine(state, scalar(target))
        delta = target - w
        m = 0.2 * m + 0.8 * delta
        v = second_moment(v, delta, 0.7)
        w = w + 0.3 * m / (np.sqrt(v) + 0.1)

    assert value_of(state) == pytest.approx(w, rel=1e-3, abs=1e-3)


def test_one_step_of_fedadam_is_as_long_as_the_rate_says() -> None:
    """For a large delta m / sqrt(v) is (1 - beta1) / sqrt(1 - beta2) = 0.1 / 0.1, whatever the delta."""
    state = FedAdam().combine(
        FedAdam().start({"w": array(0, 0)}), [Contribution("a", {"w": array(50, -5000)}, 1)]
    )

    np.testing.assert_allclose(state.params["w"], [0.1, -0.1], rtol=1e-3)


def test_a_state_of_another_strategy_is_named() -> None:
    state = FedAvg().start(GLOBAL)

    with pytest.raises(
        StrategyError, match="the state remembers nothing, not m; it was begun by another strategy"
    ):
        FedAdam().combine(state, some_contributions())
    with pytest.raises(StrategyError, match=r"must hold model/\.\.\. arrays"):
        State.from_arrays({"v/W": array(1)})


# --- against nonsense ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "median"), [((1, 2, 9), 2), ((9, 1, 2), 2), ((1, 2, 4, 9), 3), ((5,), 5), ((1, 8), 4.5)]
)
def test_the_median_is_that_of_each_weight(values: tuple[float, ...], median: float) -> None:
    strategy = CoordinateMedian()

    assert value_of(strategy.combine(strategy.start({"w": array(0)}), scalar(*values))) == median


def test_the_median_of_many_weights_is_numpys() -> None:
    """More weights than are sorted at a time."""
    chance = generator_for(0, "wide")
    given_ = [
        Contribution(f"{number:02}", {"w": chance.normal(size=(3, 30_000)).astype(np.float32)}, 1)
        for number in range(20)
    ]

    state = CoordinateMedian().combine(State(given_[0].params), given_)

    stack = np.stack([one.params["w"] for one in given_]).astype(np.float64)
    assert (state.params["w"] == np.median(stack, axis=0).astype(np.float32)).all()


@pytest.mark.parametrize(
    ("share", "values", "mean"),
    [
        (0.2, (100, 1, 2, 3, -100), 2),  # one of five at each end
        (0.2, (100, 1, 2), 2),  # 0.6 of a worker is rounded up: the promise holds
        (0.3, tuple(range(10)), 4.5),
        (0.3, (*range(7), 99, 99, 99), 4.5),  # 3, 4, 5, 6 are left
        (0.0, (1, 2, 6), 3),
        (0.49, (1, 2, 6, 7), 4),  # the median
        (0.4, (5,), 5),
        (0.4, (5, 6), 5.5),  # nothing can be left out of two
    ],
)
def test_the_trimmed_mean_leaves_out_the_extremes(
    share: float, values: tuple[float, ...], mean: float
) -> None:
    strategy = TrimmedMean(trimmed_share=share)

    assert value_of(strategy.combine(strategy.start({"w": array(0)}), scalar(*values))) == mean


@pytest.mark.parametrize("strategy", [CoordinateMedian(), TrimmedMean(), Krum(), MultiKrum()], ids=repr)
def test_samples_do_not_count_where_they_could_be_claimed(strategy: Strategy) -> None:
    honest = some_contributions()
    boasting = [Contribution(one.worker_id, one.params, 10**9) for one in honest[:1]] + honest[1:]

    states = [strategy.combine(strategy.start(GLOBAL), given_) for given_ in (honest, boasting)]

    assert fingerprint(states[0]) == fingerprint(states[1])


def test_krum_takes_the_worker_in_the_thick_of_it() -> None:
    """Seven workers, two of them faulty: scores are sums of 7 - 2 - 2 = 3 squared distances.

    At 10, 11, 12, 13, 14 the middle has 1 + 1 + 4 = 6; 11 and 13 have the same 1 + 1 + 4; 11 comes first.
    """
    strategy = Krum(byzantine=2)

    state = strategy.combine(strategy.start({"w": array(0)}), scalar(10, 11, 12, 13, 14, -1000, 5000))

    assert value_of(state) == 11


def test_krum_returns_a_model_as_it_was_sent() -> None:
    given_ = some_contributions()

    state = Krum().combine(Krum().start(GLOBAL), given_)

    assert model_sha256(state.params) in [model_sha256(one.params) for one in given_]


def test_equal_scores_go_to_the_first_worker_id() -> None:
    """As in the paper: of the lowest scores the smallest identifier."""
    given_ = scalar(1, -1, 1, -1, 1, -1)

    state = Krum(byzantine=1).combine(State({"w": array(0)}), reversed(given_))

    assert value_of(state) == 1


def test_krum_scores_are_those_of_the_definition() -> None:
    given_ = some_contributions(9, seed=3)
    flat = [np.concatenate([one.params["W"].ravel(), one.params["b"]]).astype(np.float64) for one in given_]
    scores = []
    for mine in flat:
        others = sorted(float(((mine - other) ** 2).sum()) for other in flat if other is not mine)
        scores.append(sum(others[: 9 - 2 - 2]))
    best = sorted(range(9), key=scores.__getitem__)

    krum = Krum(byzantine=2).combine(State(GLOBAL), given_)
    multi = MultiKrum(byzantine=2, selected=4).combine(State(GLOBAL), given_)

    assert model_sha256(krum.params) == model_sha256(given_[best[0]].params)
    plain = federated_averaging([(given_[place].params, 1) for place in sorted(best[:4])])
    assert model_sha256(multi.params) == model_sha256(plain)


@pytest.mark.parametrize(("selected", "mean"), [(None, 12), (1, 11), (4, 11.5), (99, 12)])
def test_multi_krum_averages_the_best(selected: int | None, mean: float) -> None:
    """By default all but the faulty ones, and never more. Four best: 11, 12, 13 with 6, then 10 with 14."""
    strategy = MultiKrum(byzantine=2, selected=selected)

    state = strategy.combine(State({"w": array(0)}), scalar(10, 11, 12, 13, 14, -1000, 5000))

    assert value_of(state) == mean


@pytest.mark.parametrize("strategy", [Krum(byzantine=1), MultiKrum(byzantine=1)], ids=repr)
def test_too_few_contributions_for_the_promise_are_refused(strategy: Strategy) -> None:
    assert strategy.fewest == 5
    with pytest.raises(
        StrategyError, match="4 contributions, the strategy needs at least 5; raise the number"
    ):
        strategy.combine(State(GLOBAL), some_contributions(4))


def attacked(kind: str) -> list[Contribution]:
    """Ten workers, two of which send their update turned around, or a hundredfold."""
    factor = {"sign-flipped": -1.0, "hundredfold": 100.0}[kind]
    given_ = some_contributions(10, spread=0.1)
    return [
        Contribution(
            one.worker_id,
            {name: GLOBAL[name] + np.float32(factor) * (one.params[name] - GLOBAL[name]) for name in GLOBAL},
            one.samples,
        )
        if place < 2
        else one
        for place, one in enumerate(given_)
    ]


@pytest.mark.parametrize("kind", ["sign-flipped", "hundredfold"])
@pytest.mark.parametrize(
    "strategy", [CoordinateMedian(), TrimmedMean(), Krum(byzantine=2), MultiKrum(byzantine=2)], ids=repr
)
def test_two_of_ten_cannot_lead_the_others_astray(strategy: Strategy, kind: str) -> None:
    """Every weight stays among those of the honest ones."""
    state = strategy.combine(strategy.start(GLOBAL), attacked(kind))

    for name, after in state.params.items():
        honest = np.stack([one.params[name] for one in some_contributions(10, spread=0.1)[2:]])
        slack = 1e-6
        assert (after >= honest.min(axis=0) - slack).all()
        assert (after <= honest.max(axis=0) + slack).all()


def test_fedavg_is_led_astray_by_two_of_ten() -> None:
    """The contrast: otherwise the test before would show nothing."""
    state = FedAvg().combine(FedAvg().start(GLOBAL), attacked("hundredfold"))

    honest = np.stack([one.params["W"] for one in some_contributions(10, spread=0.1)[2:]])
    assert (np.abs(state.params["W"] - honest.mean(axis=0)) > 10 * honest.std(axis=0)).any()


# --- by name ---------------------------------------------------------------------------------


def test_the_names_of_the_command_line() -> None:
    assert list(STRATEGIES) == (
        [
            "fedavg",
            "fedavgm",
            "fedadagrad",
            "fedadam",
            "fedyogi",
            "median",
            "trimmed-mean",
            "krum",
            "multi-krum",
        ]
    )
    assert make_strategy("krum", byzantine=3) == Krum(byzantine=3)
    assert strategy_parameters("multi-krum") == {"byzantine": 1, "selected": None}
    assert strategy_parameters("median") == {}


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("fedagv", {}, "no strategy is named 'fedagv'; there are fedavg, .*; did you mean fedavg"),
        ("krum", {"bizantine": 1}, "krum has no parameter 'bizantine'; it takes byzantine; did you mean byz"),
        ("median", {"tau": 1}, "median has no parameter 'tau'; it takes none"),
        ("fedavg", {"server_learning_rate": 0}, "server_learning_rate=0; a finite number above 0"),
        ("fedavgm", {"momentum": 1}, "momentum=1; 0 to below 1 is allowed"),
        ("fedadagrad", {"beta1": -0.1}, r"beta1=-0\.1; 0 to below 1"),
        ("fedadam", {"beta2": 1.0}, r"beta2=1\.0; 0 to below 1"),
        ("fedyogi", {"tau": 0}, "tau=0; a finite number above 0"),
        ("fedadam", {"server_learning_rate": float("nan")}, "server_learning_rate=nan"),
        ("trimmed-mean", {"trimmed_share": 0.5}, r"trimmed_share=0\.5; 0 to below 0\.5"),
        ("krum", {"byzantine": -1}, "byzantine=-1; a number of workers, at least 0"),
        ("multi-krum", {"selected": 0}, "selected=0; at least 1 is needed"),
    ],
)
def test_wrong_settings_are_named(name: str, parameters: dict[str, float], words: str) -> None:
    with pytest.raises(StrategyError, match=words):
        make_strategy(name, **parameters)


def test_memory_is_what_tells_strategies_apart() -> None:
    """What a database has to keep beside the model."""
    kept = {name: sorted(make_strategy(name).start(GLOBAL).memory) for name in STRATEGIES}

    assert {name: parts for name, parts in kept.items() if parts} == {
        "fedavgm": ["v"],
        "fedadagrad": ["m", "v"],
        "fedadam": ["m", "v"],
        "fedyogi": ["m", "v"],
    }


def test_a_steady_direction_is_followed_faster_with_momentum() -> None:
    """The workers agree that w should be 10 farther on, round after round."""

    def distances(strategy: Strategy) -> list[float]:
        state = strategy.start({"w": array(0)})
        moved = []
        for _ in range(5):
            state = strategy.combine(state, scalar(value_of(state) + 10))
            moved.append(value_of(state))
        return [after - before for before, after in pairwise([0.0, *moved])]

    assert distances(FedAvg()) == [10, 10, 10, 10, 10]
    assert distances(FedAvgM()) == sorted(distances(FedAvgM()))
    assert distances(FedAvgM())[-1] > 30
