"""Flower's side of a comparison: the job of `flower.py` as a Flower app. Flower's own Python runs it.

Of ours it needs `federation.learning` alone: the same model, the same chance, the same samples. What is
compared is what brings the weights to and fro.
"""

from __future__ import annotations

import json
import os
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from federation.learning import Params, SimpleClassifier, one_blas_thread, worker_generator

FOLDER = "TRIOACTOR_FLOWER_JOB"  # the environment says where the job lies

client_app = ClientApp()
server_app = ServerApp()


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Train one worker, as ours does, and say how many samples it has."""
    job, model = _job(), _model()
    place = int(context.node_config["partition-id"])
    X, y = _samples("X")[place], _samples("y")[place]
    model.set_weights(_params(message.content["arrays"]))
    with one_blas_thread():
        model.fit(
            X,
            y,
            epochs=job["epochs"],
            batch_size=job["batch_size"],
            learning_rate=job["learning_rate"],
            mu=job["mu"],
            generator=worker_generator(
                job["seed"], job["names"][place], int(message.content["config"]["server-round"])
            ),
        )
        if job["score_workers"]:
            model.evaluate(X, y)
    content = {"arrays": _record(model.get_weights()), "metrics": MetricRecord({"num-examples": len(y)})}
    return Message(content=RecordDict(content), reply_to=message)


@server_app.main()
def serve(grid: Grid, _context: Context) -> None:
    """Run the rounds, score each, and write down when each ended."""
    job, model = _job(), _model()
    samples, labels = _samples("judge_X"), _samples("judge_y")
    ended, accuracies = [], []

    def score(_number: int, arrays: ArrayRecord) -> MetricRecord:
        model.set_weights(_params(arrays))
        with one_blas_thread():
            accuracies.append(model.evaluate(samples, labels).accuracy)
        ended.append(time.time())
        return MetricRecord({"accuracy": accuracies[-1]})

    strategy = FedAvg(
        fraction_train=job["fraction"],
        fraction_evaluate=0.0,
        min_train_nodes=1,
        min_available_nodes=len(job["names"]),
    )
    strategy.start(grid, _record(model.get_weights()), num_rounds=job["rounds"], evaluate_fn=score)
    figures = {"ended": ended[1:], "began": ended[0], "accuracy": accuracies[-1]}
    (_folder() / "figures.json").write_text(json.dumps(figures))


def _folder() -> Path:
    return Path(os.environ[FOLDER])


@cache
def _job() -> dict[str, Any]:
    job: dict[str, Any] = json.loads((_folder() / "job.json").read_text())
    return job


@cache
def _model() -> SimpleClassifier:
    return SimpleClassifier(_job()["features"], _job()["classes"])


@cache
def _samples(name: str) -> Any:
    return np.load(_folder() / f"{name}.npy", mmap_mode="r")


def _params(record: ArrayRecord) -> Params:
    return {name: array.numpy() for name, array in record.items()}


def _record(params: Params) -> ArrayRecord:
    return ArrayRecord({name: Array(array) for name, array in params.items()})


def main() -> None:
    """Simulate it on Ray, with the cores that the job names."""
    from flwr.simulation import run_simulation

    import tests.benchmarks.flower_app as app  # by its name: Ray's processes find it there

    job = _job()
    run_simulation(
        app.server_app,
        app.client_app,
        num_supernodes=len(job["names"]),
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": job["cores"], "include_dashboard": False},
        },
    )


if __name__ == "__main__":
    main()
