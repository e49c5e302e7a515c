"""A peer that saves itself again and again until it is killed; says the number of each snapshot."""

import sys
from hashlib import sha256
from pathlib import Path

from persistence.gossip import GossipPersistence
from persistence.gossip_rows import EntryRow, IdentityRow, PeerStateRow
from persistence.rows import NewRun


def main(path: Path) -> None:
    store = GossipPersistence(path)
    new = NewRun(name="run", created_unix=0, settings={}, seed=0, source="toy", synthetic=True)
    run = store.enter_run(new)
    state = store.load_snapshot(run.id, "A").state
    number = 0 if state is None else state.round
    while True:
        number += 1
        data = b"%d" % number * 5000
        content = sha256(data).digest()
        store.save_identity(IdentityRow(peer="A", life=1, salt=1, lease_end=number))
        store.save_snapshot(
            run.id,
            PeerStateRow(peer="A", round=number, finished=False, samples=1, life=1, saved_unix=0),
            changed=[
                EntryRow(key="model/A", time=number, writer="A", life=1, salt=1, value={}, content=content)
            ],
            contents={content: data},
        )
        print(number, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
