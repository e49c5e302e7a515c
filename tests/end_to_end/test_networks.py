"""Networks of torch through real processes: roles and peers do not notice that it is no linear model."""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from federation.config import AggregatorConfig, EvaluatorConfig, ProviderConfig, WorkersConfig
from federation.events import Event, RoundCommitted, RoundStarted
from federation.learning import (
    Budget,
    generator_for,
    load_params,
    load_region,
    model_sha256,
    save_region,
    train_together,
)
from federation.roles import (
    PROVIDER_ID,
    VOCABULARY,
    run_aggregator,
    run_evaluator,
    run_provider,
    run_workers,
)
from federation.simulation import SimulationConfig, simulate
from federation.stopping import Stop
from federation.workspace import wait_for_address
from persistence import RoundPersistence
from tests.end_to_end.conftest import Workspace
from tests.end_to_end.test_tls import generate, sha_of
from tests.extras import need
from trioactor import ActorSystem, HealthPing

need("torch")

from tests.federation.networks import CLASSES, PIXELS, convolutional, tiles

CONVOLUTIONAL = ("--model", "tests.federation.networks:convolutional")
JOB = ("--epochs", "1", "--batch-size", "8", "--learning-rate", "0.05", "--seed", "4")
BUDGET = Budget(rounds=2, epochs=1, batch_size=8, learning_rate=0.05, seed=4)
ROLES = "provider,aggregator,evaluator,workers,launcher"
TORCH_SECONDS = 150.0  # several processes that import torch at once, on two busy cores


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset folder of tiles as pixels."""
    folder = tmp_path_factory.mktemp("pixels") / "dataset"
    for name in "ABCD":
        save_region(folder / f"region_{name}.npz", tiles(name, 4))
    return folder


@pytest.fixture
def place(workspace: Workspace, pixels: Path) -> Workspace:
    shutil.rmtree(workspace.path / "dataset")
    shutil.copytree(pixels, workspace.path / "dataset")
    return workspace


def test_a_convolutional_network_has_the_same_bytes_through_the_roles_in_a_simulation_and_in_one_loop(
    place: Workspace,
) -> None:
    members = [
        place.begin("federation", "workers", *CONVOLUTIONAL, "--region", "A", "--region", "B"),
        place.begin("federation", "evaluator", *CONVOLUTIONAL),
        place.begin("federation", "aggregator"),
    ]
    job = ("--rounds", "2", "--min-workers", "2", "--no-alone", *CONVOLUTIONAL, *JOB)
    provider = place.begin("federation", "provider", *job)
    assert provider.wait(TORCH_SECONDS) == 0, provider.stderr
    for member in members:
        assert member.wait() == 0, member.stderr

    simulated = SimulationConfig(
        workspace=place.path,
        run="simulated",
        partition="regions",
        region=("A", "B"),
        model=CONVOLUTIONAL[1],
        rounds=2,
        epochs=1,
        batch_size=8,
        learning_rate=0.05,
        seed=4,
    )
    result = trio.run(simulate, simulated)

    regions = {name: load_region(place.path / "dataset" / f"region_{name}.npz") for name in "AB"}
    first = convolutional(PIXELS, len(CLASSES), generator_for(4, "model"))
    alone = train_together(regions, BUDGET, model=first)
    assert sha_of(provider) == result.model_sha256 == model_sha256(alone.get_weights())
    assert result._repr_html_().startswith("<p>simulated: accuracy ")


def test_a_convolutional_network_goes_round_among_peers(place: Workspace) -> None:
    flags = ("--rounds", "2", "--patience-seconds", "0.2", "--in-process", "--no-alone", "--no-picture")
    run = place.begin("gossip", "start", "--plain", *CONVOLUTIONAL, *JOB, *flags)
    assert run.wait(TORCH_SECONDS) == 0, run.stderr

    (folder,) = (place.path / "runs").iterdir()
    average = load_params(folder / "model.npz")
    found = re.search(r"average SHA-256 +([0-9a-f]{64})", run.stdout)
    assert found is not None
    assert model_sha256(average) == found[1]
    begun = convolutional(PIXELS, len(CLASSES), generator_for(4, "model")).get_weights()
    assert average.keys() == begun.keys()
    assert (average["1.running_mean"] != begun["1.running_mean"]).any()  # buffers are averaged, too


async def test_pings_are_answered_while_a_model_of_45_megabytes_is_learnt_over_tls(
    pixels: Path, tmp_path: Path
) -> None:
    """It goes to two workers, the Aggregator and the Evaluator, and back, while somebody asks: are you well?

    All roles are in this process, each in a system of its own with a certificate of its own.
    """
    certificates = generate(tmp_path / "certificates", ROLES)
    where: dict[str, Any] = {"workspace": tmp_path / "workspace"}

    def of(role: str) -> dict[str, Any]:
        files = {"tls_cert": f"{role}.crt", "tls_key": f"{role}.key", "tls_ca": "ca.crt"}
        return {**where, **{name: certificates / file for name, file in files.items()}}

    model, data = "tests.federation.networks:large", dict[str, Any](dataset=pixels)
    job = ProviderConfig(
        model=model, rounds=1, epochs=1, batch_size=8, min_workers=2, alone=False, **of("provider")
    )
    members = [
        partial(run_aggregator, AggregatorConfig(**of("aggregator"))),
        partial(run_evaluator, EvaluatorConfig(model=model, **data, **of("evaluator"))),
        partial(
            run_workers, WorkersConfig(region=("A", "B"), model=model, **data, **of("workers")), stop=Stop()
        ),
    ]
    begun, ended = trio.Event(), trio.Event()

    def see(event: Event) -> None:
        if isinstance(event, RoundStarted):
            begun.set()
        if isinstance(event, RoundCommitted):
            ended.set()

    answered = 0
    async with trio.open_nursery() as nursery, ActorSystem("launcher", vocabulary=VOCABULARY) as system:
        nursery.start_soon(partial(run_provider, job, stop=Stop(), on_event=see))
        for member in members:
            nursery.start_soon(member)
        files = of("launcher")
        system.enable_ssl(*(str(files[name]) for name in ("tls_cert", "tls_key", "tls_ca")))
        with trio.fail_after(TORCH_SECONDS):
            await begun.wait()
            address = (await wait_for_address(job.address_file, TORCH_SECONDS)).address
            provider = system.ref(*address, PROVIDER_ID)
            while not ended.is_set():
                assert await provider.ask(HealthPing())
                answered += 1

    with RoundPersistence(job.database, read_only=True) as record:
        (run,) = record.runs()
        size = sum(array.nbytes for array in record.load_weights(run.id, 1).values())
        moved = [(one.bytes_in, one.bytes_out) for one in record.updates(run.id)[1]]
    assert size > 45_000_000
    assert all(least >= size for pair in moved for least in pair)
    assert answered > 5  # if they had to wait for the model there would be one or two
