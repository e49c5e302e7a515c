"""Settings of gossip: what is allowed, and what the text says when something is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from federation.errors import SettingsError
from gossip.config import PeerConfig, StartGossipConfig


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"listen": "0.0.0.0:7000"}, "--advertise HOST"),
        ({"join": ("10.0.0.1",)}, "--join 10.0.0.1: give HOST:PORT"),
        ({"join": ("10.0.0.1:0",)}, "port 0 cannot be reached"),
        ({"reporter": ("10.0.0.1:0",)}, "--reporter"),
        ({"name": "a/b"}, "without a slash"),
        ({"name": "x" * 101}, "1 to 100"),
        ({"patience_seconds": -1.0}, "--patience-seconds"),
        ({"strategy": "fedadam"}, "use one of fedavg, median"),
        ({"tls_cert": Path("a.crt")}, "give all three"),
    ],
)
def test_a_wrong_setting_of_a_peer_names_its_flag(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        PeerConfig(**changes)


def test_a_peer_is_named_for_its_region_unless_it_has_a_name() -> None:
    assert PeerConfig(region="B").peer_name == "B"
    assert PeerConfig(region="data/region_C.npz").peer_name == "C"
    assert PeerConfig(region="B", name="site 7").peer_name == "site 7"


def test_flags_of_a_peer_make_the_same_peer() -> None:
    config = PeerConfig(region="B", join=("a:1", "b:2"), until_converged=True, evaluate="", rounds=7)
    flags = config.as_flags()

    assert flags.count("--join") == 2
    assert flags[flags.index("--evaluate") + 1] == ""
    assert "--until-converged" in flags
    assert config.join_addresses == [("a", 1), ("b", 2)]


def test_the_record_keeps_what_has_a_say_in_what_is_learnt() -> None:
    kept = PeerConfig(join=("a:1",), db=Path("x.db")).for_record()

    assert {"rounds", "seed", "strategy", "epochs"} <= kept.keys()
    assert not {"join", "db", "workspace", "listen", "name"} & kept.keys()


def test_every_peer_has_a_region_of_its_own() -> None:
    assert StartGossipConfig(peers="A,B").peer_names == ["A", "B"]
    with pytest.raises(SettingsError, match="twice"):
        StartGossipConfig(peers="A,B,A")
