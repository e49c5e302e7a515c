"""A notary for tests: seals by a secret that everybody's notary knows and no liar has."""

from __future__ import annotations

import hmac
from dataclasses import replace

from gossip import ModelInfo, PeerInfo
from gossip.ownership import model_claim, peer_claim


class SecretNotary:
    """Seals for one peer and checks for all.

    Args:
        peer: Whose seal it makes.
    """

    def __init__(self, peer: str) -> None:
        self._peer = peer

    def seal(self, claim: bytes) -> bytes:
        return _seal_of(self._peer, claim)

    def is_sealed(self, owner: str, claim: bytes, proof: bytes) -> bool:
        return hmac.compare_digest(proof, _seal_of(owner, claim))

    def sealed_peer(self, info: PeerInfo) -> PeerInfo:
        return replace(info, proof=self.seal(peer_claim(info)))

    def sealed_model(self, info: ModelInfo) -> ModelInfo:
        return replace(info, proof=self.seal(model_claim(info)))


def _seal_of(peer: str, claim: bytes) -> bytes:
    return hmac.digest(b"secret of " + peer.encode(), claim, "sha256")
