import subprocess
import sys
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from federation.learning import generator_for, one_blas_thread, worker_generator


def test_a_generator_depends_on_seed_worker_and_round_only() -> None:
    drawn = worker_generator(1, "A", 2).integers(0, 2**63, 4).tolist()

    assert worker_generator(1, "A", 2).integers(0, 2**63, 4).tolist() == drawn
    for other in (worker_generator(2, "A", 2), worker_generator(1, "B", 2), worker_generator(1, "A", 3)):
        assert other.integers(0, 2**63, 4).tolist() != drawn


def test_labels_do_not_run_together() -> None:
    one = [
        generator_for(0, "a", "b"),
        generator_for(0, "ab"),
        generator_for(0, "a", 1),
        generator_for(0, "a", "1"),
    ]

    assert len({int(generator.integers(0, 2**63)) for generator in one}) == 4


def test_another_process_with_another_hash_seed_draws_the_same() -> None:
    program = (
        "from federation.learning import worker_generator as w; print(w(5, 'region A', 9).integers(0, 2**63))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": "4242"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )

    assert int(finished.stdout) == worker_generator(5, "region A", 9).integers(0, 2**63)


def test_inside_the_block_one_thread_adds() -> None:
    np.zeros((2, 2)) @ np.zeros((2, 2))
    with one_blas_thread():
        inside = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    assert inside
    assert set(inside) == {1}
