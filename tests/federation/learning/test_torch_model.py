"""`TorchModel`: what any network must do to be trained as the house's own classifier is."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from federation.learning import (
    STRATEGIES,
    Budget,
    Contribution,
    ParamsError,
    RegionError,
    SimpleClassifier,
    TrainingDiverged,
    TrainingStopped,
    generator_for,
    make_strategy,
    model_sha256,
    train_together,
)
from tests.extras import need

need("torch")

import torch
from torch import nn

from federation.learning.torch_model import TorchModel, seeded
from tests.federation.networks import CLASSES, PIXELS, convolutional, tiles

A_FEW = 24
FEATURES = 6


def chance(label: str = "any") -> np.random.Generator:
    return generator_for(3, label)


def blobs(samples: int = A_FEW, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    y = np.arange(samples) % classes
    return (rng.normal(size=(samples, FEATURES)) + y[:, None]).astype(np.float32), y


def linear(classes: int = 3) -> nn.Linear:
    module = nn.Linear(FEATURES, classes)
    nn.init.zeros_(module.weight)
    nn.init.zeros_(module.bias)
    return module


def fit(
    model: TorchModel | SimpleClassifier, *, epochs: int = 3, rate: float = 0.1, mu: float = 0.0
) -> float:
    X, y = blobs()
    return model.fit(X, y, epochs=epochs, batch_size=5, learning_rate=rate, generator=chance(), mu=mu)


def trained_sha(make: Callable[[], TorchModel], X: np.ndarray, y: np.ndarray, label: str = "any") -> str:
    model = make()
    model.fit(X, y, epochs=2, batch_size=8, learning_rate=0.05, generator=chance(label))
    return model_sha256(model.get_weights())


# --- the same as the classifier of the house ----------------------------------------------------


@pytest.mark.parametrize("mu", [0.0, 0.5])
def test_a_linear_network_learns_what_the_classifier_of_the_house_learns(mu: float) -> None:
    network, classifier = TorchModel(linear()), SimpleClassifier(FEATURES, 3)

    losses = [fit(network, mu=mu), fit(classifier, mu=mu)]

    weights, ours = network.get_weights(), classifier.get_weights()
    np.testing.assert_allclose(weights["weight"].T, ours["W"], atol=1e-6)
    np.testing.assert_allclose(weights["bias"], ours["b"], atol=1e-6)
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    X, y = blobs()
    scores, wanted = network.evaluate(X, y), classifier.evaluate(X, y)
    assert scores.loss == pytest.approx(wanted.loss, abs=1e-6)
    np.testing.assert_array_equal(scores.confusion, wanted.confusion)


def test_a_federation_of_convolutional_networks_learns_to_tell_tiles_apart() -> None:
    regions = {name: tiles(name, 12) for name in "AB"}
    judge = tiles("D", 12)
    model = convolutional(PIXELS, len(CLASSES), chance())
    guessing = model.evaluate(judge.X, judge.y).accuracy

    train_together(regions, Budget(rounds=4, epochs=2, batch_size=8, learning_rate=0.05), model=model)

    assert model.evaluate(judge.X, judge.y).accuracy > max(guessing, 0.5)


# --- weights ------------------------------------------------------------------------------------


def test_weights_are_parameters_and_buffers() -> None:
    model = convolutional(PIXELS, len(CLASSES), chance())
    weights = model.get_weights()

    assert weights.keys() == model.module.state_dict().keys()
    assert {"1.running_mean", "1.running_var", "1.num_batches_tracked"} < weights.keys()
    assert {one.dtype for one in weights.values()} == {np.dtype(np.float32)}


def test_buffers_travel_from_one_model_to_another() -> None:
    region = tiles("A", 4)
    one, other = (convolutional(PIXELS, len(CLASSES), chance(label)) for label in ("one", "other"))
    one.fit(region.X, region.y, epochs=1, batch_size=8, learning_rate=0.05, generator=chance())

    other.set_weights(one.get_weights())

    assert model_sha256(other.get_weights()) == model_sha256(one.get_weights())
    assert other.evaluate(region.X, region.y).loss == one.evaluate(region.X, region.y).loss
    assert int(other.module.state_dict()["1.num_batches_tracked"]) == 2


def test_the_copy_that_was_handed_out_stays_as_it_was() -> None:
    model = TorchModel(linear())
    before = model.get_weights()
    fit(model)

    assert not before["weight"].any()


def test_what_came_over_a_network_is_read_only_and_taken() -> None:
    X, y = blobs()
    model = TorchModel(linear())
    weights = {name: array + 1 for name, array in model.get_weights().items()}
    for array in (X, y, *weights.values()):
        array.flags.writeable = False

    model.set_weights(weights)
    model.fit(X, y, epochs=1, batch_size=4, learning_rate=0.1, generator=chance())
    assert model.evaluate(X, y).samples == len(y)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_makes_a_model_of_networks_with_buffers(name: str) -> None:
    region = tiles("A", 4)
    model = convolutional(PIXELS, len(CLASSES), chance())
    first = model.get_weights()
    contributions = []
    for worker in ("a", "b", "c", "d", "e"):
        model.set_weights(first)
        model.fit(region.X, region.y, epochs=1, batch_size=8, learning_rate=0.02, generator=chance(worker))
        contributions.append(Contribution(worker, model.get_weights(), region.sample_count))
    strategy = make_strategy(name)

    state = strategy.combine(strategy.start(first), contributions)

    model.set_weights(state.params)
    assert model.get_weights().keys() == first.keys()


def test_half_precision_and_whole_numbers_come_back_as_what_they_were() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = linear().to(torch.bfloat16)
            self.register_buffer("table", torch.tensor([[2, 1], [0, 1_000_000]]))
            self.register_buffer("mask", torch.tensor([True, False]))

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return self.inner(rows.to(torch.bfloat16)).float()

    model = TorchModel(Mixed())
    moved = {name: array + np.float32(0.25) for name, array in model.get_weights().items()}
    model.set_weights(moved)  # an average of counters need not be whole

    state = model.module.state_dict()
    assert state["table"].tolist() == [[2, 1], [0, 1_000_000]]
    assert state["mask"].tolist() == [True, False]
    assert state["inner.bias"].dtype == torch.bfloat16
    assert state["inner.bias"].tolist() == [0.25] * 3


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (linear().double(), r"'weight' is float64.*module\.float\(\)"),
        (
            nn.ParameterDict({"z": nn.Parameter(torch.zeros(2, dtype=torch.complex64))}),
            "'z' is torch.complex64",
        ),
    ],
)
def test_what_cannot_travel_is_refused_when_the_model_is_made(module: nn.Module, words: str) -> None:
    with pytest.raises(ParamsError, match=words):
        TorchModel(module)


def test_a_mask_of_infinities_is_refused_with_the_way_out() -> None:
    module = linear()
    module.register_buffer("causal", torch.tensor([0.0, -torch.inf]))
    with pytest.raises(ParamsError, match=r"'causal' holds NaN or infinity.*persistent=False"):
        TorchModel(module)


def test_state_that_is_no_tensor_is_refused() -> None:
    class Odd(nn.Linear):
        def get_extra_state(self) -> str:
            return "words"

    with pytest.raises(ParamsError, match="'_extra_state' of the network's state is a str"):
        TorchModel(Odd(2, 2))


def test_a_counter_that_float32_would_round_is_refused() -> None:
    module = nn.BatchNorm1d(3)
    model = TorchModel(module)
    module.num_batches_tracked.fill_(2**24 + 1)
    with pytest.raises(ParamsError, match="'num_batches_tracked' holds a whole number above 16,777,216"):
        model.get_weights()


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ParamsError, match=r"'bias' has shape \(4,\), the model's has \(3,\)"):
        TorchModel(linear()).set_weights(TorchModel(linear(4)).get_weights())


# --- the same bytes -----------------------------------------------------------------------------


def network() -> TorchModel:
    return convolutional(PIXELS, len(CLASSES), chance("first"))


def test_the_bytes_hang_on_the_generator_alone() -> None:
    region = tiles("A", 6)
    threads = torch.get_num_threads()
    alone = trained_sha(network, region.X, region.y)
    try:
        torch.set_num_threads(threads + 1)
        torch.manual_seed(99)
        again = trained_sha(network, region.X, region.y)
    finally:
        torch.set_num_threads(threads)

    assert again == alone
    assert trained_sha(network, region.X, region.y, "another") != alone


def test_networks_that_train_in_threads_of_one_process_do_not_disturb_each_other() -> None:
    region = tiles("A", 6)
    labels = ("one", "two", "three")
    alone = {label: trained_sha(network, region.X, region.y, label) for label in labels}
    together: dict[str, str] = {}

    def train(label: str) -> None:
        together[label] = trained_sha(network, region.X, region.y, label)

    tasks = [threading.Thread(target=train, args=(label,)) for label in labels]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()

    assert together == alone


def test_torch_is_left_as_it_was_found() -> None:
    torch.manual_seed(11)
    wanted = torch.rand(3)
    torch.manual_seed(11)
    mode, threads = torch.get_deterministic_debug_mode(), torch.get_num_threads()

    region = tiles("A", 4)
    trained_sha(network, region.X, region.y)

    torch.testing.assert_close(torch.rand(3), wanted, rtol=0, atol=0)
    assert torch.get_deterministic_debug_mode() == mode
    assert torch.get_num_threads() == threads


def test_first_weights_come_from_the_generator() -> None:
    def first(label: str) -> str:
        with seeded(chance(label)):
            return model_sha256(TorchModel(nn.Linear(4, 2)).get_weights())

    assert first("one") == first("one") != first("two")


# --- fit and evaluate ---------------------------------------------------------------------------


def test_an_optimiser_and_a_loss_of_ones_own() -> None:
    made: list[float] = []

    def adam(parameters: object, rate: float) -> torch.optim.Optimizer:
        made.append(rate)
        return torch.optim.Adam(parameters, lr=rate)

    smooth = nn.CrossEntropyLoss(label_smoothing=0.1)
    model = TorchModel(linear(), optimiser=adam, loss=smooth)
    begun = fit(model, epochs=1, rate=0.05)

    assert fit(model, epochs=5, rate=0.05) < begun
    assert made == [0.05, 0.05]  # anew in each round


def test_frozen_parameters_stay_as_they_are() -> None:
    model = TorchModel(linear())
    model.module.weight.requires_grad_(False)
    fit(model, mu=0.1)

    weights = model.get_weights()
    assert not weights["weight"].any()
    assert weights["bias"].any()


def test_training_stops_between_two_batches() -> None:
    asked = iter([False, False, True])
    X, y = blobs()
    model, of_two = TorchModel(linear()), TorchModel(linear())

    with pytest.raises(TrainingStopped, match="stopped after 10 of 24 samples"):
        model.fit(
            X,
            y,
            epochs=1,
            batch_size=5,
            learning_rate=0.1,
            generator=chance(),
            should_stop=lambda: next(asked),
        )

    rows = chance().permutation(len(y))[:10]
    for part in (rows[:5], rows[5:]):
        of_two.fit(X[part], y[part], epochs=1, batch_size=5, learning_rate=0.1, generator=chance("whole"))
    np.testing.assert_allclose(model.get_weights()["weight"], of_two.get_weights()["weight"], atol=1e-6)


@pytest.mark.filterwarnings("ignore:overflow")
def test_training_that_diverges_says_so() -> None:
    with pytest.raises(TrainingDiverged, match=r"learning_rate=1e\+38.*use a smaller one"):
        fit(TorchModel(nn.Sequential(nn.Linear(FEATURES, 4), nn.Linear(4, 3))), rate=1e38)


def test_scores_do_not_hang_on_how_many_are_scored_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    region = tiles("A", 6)
    model = network()
    whole = model.evaluate(region.X, region.y)
    monkeypatch.setattr("federation.learning.torch_model.SCORED_AT_ONCE", 7)
    parts = model.evaluate(region.X, region.y)

    np.testing.assert_array_equal(parts.confusion, whole.confusion)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)


@pytest.mark.parametrize(
    ("X", "y", "words"),
    [
        (np.zeros((2, 7), np.float32), np.zeros(2, np.int64), r"7 features.*\(3, 16, 16\).*768"),
        (np.zeros((2, PIXELS), np.float32), np.full(2, 4), "labels from 4 to 4"),
        (np.zeros((2, PIXELS), np.float32), np.zeros(3, np.int64), r"y of shape \(3,\)"),
        (np.zeros((2, PIXELS)), np.zeros(2, np.int64), "X is float64"),
    ],
)
def test_data_that_does_not_fit_is_refused(X: np.ndarray, y: np.ndarray, words: str) -> None:
    model = network()
    with pytest.raises(RegionError, match=words):
        model.evaluate(X, y)
    with pytest.raises(RegionError, match=words):
        model.fit(X, y, epochs=1, batch_size=2, learning_rate=0.1, generator=chance())


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"mu": -1.0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    X, y = blobs()
    settings = {"epochs": 1, "batch_size": 4, "learning_rate": 0.1, "mu": 0.0, **wrong}
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
        TorchModel(linear()).fit(X, y, generator=chance(), **settings)  # type: ignore[arg-type]
