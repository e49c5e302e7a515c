"""The steps of the README for several machines, as they stand there, each on a machine of its own."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator

import pytest

from federation.learning import Budget, load_params, load_region, model_sha256, train_together
from tests.end_to_end.conftest import ROOT
from tests.end_to_end.machines import Machines, Running, machines

HUB, SITE_A, SITE_B = "hub.example", "site-a.example", "site-b.example"
REGIONS = {HUB: "D", SITE_A: "A", SITE_B: "B"}


def section() -> str:
    """Return the part of the README."""
    return (ROOT / "README.md").read_text().split("### On several machines")[1].split("\n### ")[0]


def step(number: int, where: str) -> str:
    """Return the commands of a step, and see that it is for this machine."""
    head, text = re.findall(rf"^{number}\. (.*?)^```\w+\n(.*?)^```$", section(), re.DOTALL | re.MULTILINE)[0]
    assert head.startswith((f"On {where}", "On each machine")), f"step {number} is not for {where}: {head}"
    assert isinstance(text, str)
    return text


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """The three machines of the README, each with its own samples."""
    with machines(tmp_path_factory.mktemp("machines"), *REGIONS) as made:
        for machine, region in REGIONS.items():
            program = step(1, machine).replace('SITE = "A"', f'SITE = "{region}"')
            made.call(machine, program, sys.executable)
        yield made


def carry(made: Machines, site: str, *names: str) -> None:
    """Bring files of the hub's certificates to a site."""
    folder = made.folder(site) / "certificates"
    folder.mkdir(exist_ok=True)
    for name in names:
        shutil.copy2(made.folder(HUB) / "certificates" / name, folder)


@pytest.fixture(scope="module")
def peers(three: Machines) -> list[Running]:
    """Two peers of gossip, begun: one makes sure that the other is gone while the other test runs."""
    found = re.findall(r"`(bin/generate-certs --roles peer-A .*?)`", section().replace("\n", " "))
    assert len(found) == 1
    for_b = found[0].replace("peer-A", "peer-B").replace(SITE_A, SITE_B)
    three.call(HUB, f"{found[0]}\n{for_b}\n")
    for site, region in ((SITE_A, "A"), (SITE_B, "B")):
        carry(three, site, "ca.crt", f"peer-{region}.crt", f"peer-{region}.key")
    return [three.begin(SITE_A, step(8, SITE_A)), three.begin(SITE_B, step(9, SITE_B))]


@pytest.mark.usefixtures("peers")
def test_a_run_on_three_machines_has_the_bytes_of_one_loop_over_their_regions(three: Machines) -> None:
    """Nobody has to reach a worker: its only door is to its own machine. Each has its own data alone."""
    three.call(HUB, step(2, HUB))
    for site, region in ((SITE_A, "A"), (SITE_B, "B")):
        carry(three, site, f"worker-{region}.crt", f"worker-{region}.key")

    hub = three.begin(HUB, step(4, HUB) + "wait\n")
    hub.wait_for(lambda _: (three.folder(HUB) / "workspace" / "address.json").exists(), "Provider")
    site_a = three.begin(SITE_A, step(5, SITE_A))
    site_a.wait_for(lambda said: "takes part" in said, "worker of the run")
    assert {door for door in three.doors(SITE_A) if not door.startswith("127.0.0.1:")} <= {"0.0.0.0:7001"}
    assert "0.0.0.0:7000" in three.doors(HUB)
    site_b = three.begin(SITE_B, step(6, SITE_B))
    said = [site_a.end(), site_b.end(), hub.end()]

    assert all("nothing stands in the way" in one for one in said)
    assert all("answers over TLS" in one for one in said[:2])
    regions = {}
    for machine, region in REGIONS.items():
        (file,) = three.folder(machine).rglob("region_*.npz")
        assert file.name == f"region_{region}.npz"
        if machine != HUB:
            regions[region] = load_region(file)
    together = model_sha256(train_together(regions, Budget(rounds=5, seed=0)).get_weights())
    assert together in three.call(HUB, step(7, HUB))
    assert model_sha256(load_params(three.folder(HUB) / "model.npz")) == together


def test_two_peers_on_two_machines_find_each_other_and_agree(peers: list[Running]) -> None:
    said = [peer.end() for peer in peers]

    averages = [re.findall(r"all live peers hold the average (\w{64})", one) for one in said]
    assert len(averages[0]) == 1
    assert averages[0] == averages[1]
