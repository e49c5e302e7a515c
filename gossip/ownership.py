"""Who may say what: of a peer's address and model only the peer itself, whoever carries the word.

What gossip carries has passed through many hands, so the connection that it came by proves nothing about its
owner. There are three ways to judge it:

- with a `Notary`, the owner's seal must be on it; who carries it does not matter;
- without one, but with connections that say who is at the other end, only the owner itself is believed;
- without either, everybody is believed. Then names are labels and no protection.
"""

from __future__ import annotations

from typing import Protocol

from cbor2 import dumps

from gossip.messages import GossipSurvey, ModelInfo, PeerInfo


class Notary(Protocol):
    """Seals what is ours and checks what others have sealed; with TLS by the keys of the certificates."""

    def seal(self, claim: bytes) -> bytes:
        """Return our seal over a claim: up to 4,096 bytes, a certificate and a signature, say."""

    def is_sealed(self, owner: str, claim: bytes, proof: bytes) -> bool:
        """Whether the proof is the owner's seal over the claim. Raises nothing, whatever the proof."""


def certificate_name(peer: str) -> str:
    """Return the name that the certificate of a peer has: "peer-A" for A."""
    return f"peer-{peer}"


def peer_claim(info: PeerInfo) -> bytes:
    """Return what a peer seals of its own info. Status and rebuttals are for others to say, too."""
    return dumps(["gossip.peer", info.peer, info.host, info.port, info.incarnation])


def model_claim(model: ModelInfo) -> bytes:
    """Return what a peer seals of its model."""
    return dumps(
        [
            "gossip.model",
            model.owner,
            model.incarnation,
            model.version,
            model.samples,
            model.size,
            model.content,
        ]
    )


def namesake_claim(survey: GossipSurvey) -> bytes:
    """Return what another process of our name seals when we ask it: a seal for nobody and no life but us."""
    return dumps(["gossip.namesake", survey.peer, survey.salt])


def may_say(
    owner: str, claim: bytes, proof: bytes, *, notary: Notary | None, authenticated: str | None
) -> bool:
    """Whether a claim about an owner is to be believed.

    Args:
        owner: Whom it is about.
        claim: What is claimed.
        proof: The seal on it.
        notary: Who checks seals; None where nothing is sealed.
        authenticated: Who brought it, says the connection; None where connections do not say.
    """
    if notary is not None:
        return notary.is_sealed(owner, claim, proof)
    return authenticated is None or authenticated == owner
