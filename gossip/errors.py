"""Every error of the gossip package, split by what the caller should do next.

| error | what happened | what to do |
| --- | --- | --- |
| `BadTime` | a logical time that no honest clock shows | refuse what carried it |
| `BadState` | values that are no state of a CRDT, or pass its bounds | refuse them, or mend the program |
| `IdentityError` and below | this peer must not go on under its name | see each |
"""


class GossipError(Exception):
    """Base of all errors of this package."""


class BadTime(GossipError, ValueError):
    """A logical time lies outside of what is allowed, or a clock has come to its end."""


class BadState(GossipError, ValueError):
    """Something is no state of the CRDT that it should be, or passes one of its bounds."""


class IdentityError(GossipError):
    """A peer cannot have, or keep, the identity it asks for."""


class WrongIdentity(IdentityError):
    """The disk holds the identity of another peer. Give each peer a disk of its own."""


class DuplicateIdentity(IdentityError):
    """Another process lives under this peer's name. This one stops writing and ends."""


class IdentityExhausted(IdentityError):
    """A peer has had so many lives that they cannot be counted on. Give it another name."""
