"""A client in another language, written from `WIRE.md` and `wire.cddl` alone, talks to a real system."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import PATIENCE_SECONDS, ROOT
from tests.trioactor.certificates import Authority

SOURCE = Path(__file__).parent / "node"
INSTALL = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
INSTALL_SECONDS = 60.0


@pytest.fixture(scope="session")
def client(request: pytest.FixtureRequest) -> Path:
    """Return the folder of the client, with its package installed; it is kept for later runs."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"the client needs {program}, which is not installed")
    folder = request.config.cache.mkdir("node-client")
    shutil.copytree(SOURCE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    try:
        subprocess.run(INSTALL, cwd=folder, check=True, capture_output=True, timeout=INSTALL_SECONDS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
        pytest.skip(f"npm cannot install the client's package: {said[-1] if said else error}")
    return folder


class Server:
    """A system in a process of its own, and what a client must know of it."""

    def __init__(self, client: Path, said: dict[str, int], secrets: dict[str, str]) -> None:
        self._client = client
        self._said = said
        self._secrets = secrets

    def run(self, scenario: str, port: str = "port", **changes: Any) -> Any:
        """Have the client play a scenario, and return what comes of it."""
        settings = json.dumps({"port": self._said[port], **self._secrets, **changes})
        command = ["node", "scenario.js", scenario, settings]
        done = subprocess.run(
            command, cwd=self._client, capture_output=True, text=True, timeout=PATIENCE_SECONDS
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module", params=["tcp", "tls"])
def server(
    request: pytest.FixtureRequest, client: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    certificates, secrets = [], {}
    if request.param == "tls":
        authority = Authority(tmp_path_factory.mktemp("node"), "authority")
        ours = authority.issue("127.0.0.1", file="hub")
        theirs = authority.issue("node", file="node")
        certificates = [ours.certfile, ours.keyfile, ours.ca_cert]
        secrets = {"ca": theirs.ca_cert, "cert": theirs.certfile, "key": theirs.keyfile}
    with subprocess.Popen(
        [sys.executable, str(SOURCE / "server.py"), *certificates],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Server(client, json.loads(process.stdout.readline()), secrets)
        process.stdin.close()
        assert process.wait(PATIENCE_SECONDS) == 0


def test_both_say_hello(server: Server) -> None:
    found = server.run("hello")

    assert (found["protocol"], found["system"], found["address"][0]) == (1, "hub", "127.0.0.1")


def test_a_thousand_tells_arrive_for_credit(server: Server) -> None:
    before = server.run("pings")["total"]

    assert server.run("tells") - before == sum(range(1000))


def test_a_thousand_tells_arrive_several_in_a_frame(server: Server) -> None:
    before = server.run("pings")["total"]

    assert server.run("tells_together") - before == sum(range(1000))


def test_a_question_that_cannot_be_answered_fails_for_its_reason(server: Server) -> None:
    found = server.run("failures")

    assert {name: each["kind"] for name, each in found.items()} == {
        "nobody": "not_delivered",
        "unknown": "not_delivered",
        "fields": "not_delivered",
        "rejected": "rejected",
    }
    assert found["rejected"]["text"] == "what is scaled by 0 is lost"
    assert "number: expected int, found str" in found["fields"]["text"]


def test_matrices_travel_inline_and_in_pieces(server: Server) -> None:
    assert server.run("matrix") == {
        "small": {"dimensions": [2, 3], "doubled": True},
        "large": {"dimensions": [2, 70_000], "doubled": True},
    }


def test_a_silent_client_lives_by_answering_pings(server: Server) -> None:
    assert server.run("pings")["pings"]


def test_an_actor_of_the_clients_is_told_and_asked_and_grants_credit(server: Server) -> None:
    """Of the frames, one is the question at the end."""
    found = server.run("called_back")

    assert (found["counted"], found["inOrder"]) == (100, True)
    assert found["frames"] == {"tells": 0, "messages": 101}, "its hello does not allow several in one"


def test_an_actor_of_a_client_whose_hello_allows_it_is_told_several_in_a_frame(server: Server) -> None:
    found = server.run("called_back_together")

    assert (found["counted"], found["inOrder"]) == (100, True)
    assert 0 < found["frames"]["tells"] < 100


def test_a_client_of_another_version_is_turned_away(server: Server) -> None:
    assert server.run("version_of_ours") == "turned away"
    assert server.run("hello")["system"] == "hub"


def test_the_client_refuses_another_version(server: Server) -> None:
    found = server.run("refusal", "port_of_version_2", ca=None)

    assert found == "the peer speaks version 2, this client version 1"


def test_an_actor_that_ends_is_reported_to_who_watches(server: Server) -> None:
    assert server.run("watched") in ("stopped", "there is no such actor, or it has ended")


@pytest.mark.parametrize("server", ["tls"], indirect=True)
def test_a_plaintext_client_is_told_that_the_system_takes_tls_only(server: Server) -> None:
    assert server.run("refusal", ca=None) == (
        "the peer refuses: this system takes TLS only; call enable_ssl on both sides"
    )
