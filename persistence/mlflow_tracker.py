"""`MlflowTracker`: a run at an MLflow server: one for the federation, and below it one for each worker."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Any

from persistence.errors import MissingExtra
from persistence.history import RunHistory
from persistence.tracking import Step, TrackingFailed, settings_of, steps_of, whole_rounds

EXPERIMENT = "trioactor"

# Tags of a run at the server: which run of which record it is, and up to which round it has been told.
KEY = "trioactor.key"
POSITION = "trioactor.round"
PARENT = "mlflow.parentRunId"  # MLflow's own

STATUSES = {"running": "RUNNING", "finished": "FINISHED", "stopped": "KILLED"}  # all else has failed

# Nobody waits for a server that does not answer; it is asked again soon. MLflow's own are 7 tries of 120 s,
# it calls home, and prints. What the environment says already comes first.
IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

# What every server takes: characters of a parameter, metrics in a request (of 1,000).
PARAM_CHARACTERS = 500
METRICS_AT_ONCE = 900


class MlflowTracker:
    """Tells a server of each round: metrics by step, settings as parameters, and how the run ended.

    It sets variables of the environment that MLflow reads when it is imported: see `IMPATIENT`.

    Args:
        uri: Of the server, like http://127.0.0.1:5000.
        experiment: What the runs are kept under.

    Raises:
        MissingExtra: Neither mlflow-skinny nor mlflow is installed.
    """

    def __init__(self, uri: str, experiment: str = EXPERIMENT) -> None:
        for name, value in IMPATIENT.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow import entities
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise MissingExtra("mlflow-skinny", extra="tracking") from error
        self._entities = entities
        self._error = MlflowException
        self._make_client = MlflowClient
        self._uri = uri
        self._experiment = experiment

    @property
    def name(self) -> str:
        """What it is and where."""
        return f"MLflow at {self._uri}"

    def tell(self, history: RunHistory) -> None:
        """Tell the server of all rounds that it does not have, however many, in few requests.

        Raises:
            TrackingFailed: It cannot be reached, or does not take them.
        """
        try:
            self._tell(self._make_client(self._uri), history)
        except (self._error, OSError) as error:
            raise TrackingFailed(f"{self.name}: {_first_line(error)}") from error

    def close(self) -> None:
        """Do nothing: no connection is kept."""

    def _tell(self, client: Any, history: RunHistory) -> None:
        server = _Server(client, history, self._entities, self._experiment)
        rounds = list(whole_rounds(history, server.position))
        metrics: dict[str, list[Any]] = {}
        for step in (step for one in rounds for step in steps_of(one)):
            metrics.setdefault(step.stream, []).extend(self._metrics(step))
        for stream, told in metrics.items():
            for start in range(0, len(told), METRICS_AT_ONCE):
                client.log_batch(server.run_of(stream), metrics=told[start : start + METRICS_AT_ONCE])
        if rounds:  # behind the numbers: what was told by half is told again, which changes nothing
            server.position = rounds[-1].number
        server.conclude()

    def _metrics(self, step: Step) -> list[Any]:
        at = _milliseconds(step.at_unix)
        return [self._entities.Metric(name, value, at, step.round) for name, value in step.values.items()]


class _Server:
    """The runs of a server that stand for one of ours.

    Args:
        client: Speaks with it.
        history: Our run.
        entities: MLflow's module of that name.
        experiment: What they are kept under.
    """

    def __init__(self, client: Any, history: RunHistory, entities: Any, experiment: str) -> None:
        self._client = client
        self._history = history
        self._entities = entities
        found = client.get_experiment_by_name(experiment)
        self._experiment = found.experiment_id if found else client.create_experiment(experiment)
        self._run_ids: dict[str, str] = {}
        self._federation = self._find("") or self._make("", None)
        self._run_ids[""] = self._federation.info.run_id

    @property
    def position(self) -> int:
        """Up to which round it has been told."""
        return int(self._federation.data.tags.get(POSITION, 0))

    @position.setter
    def position(self, number: int) -> None:
        self._client.set_tag(self._run_ids[""], POSITION, str(number))

    def run_of(self, stream: str) -> str:
        """Return the id of the run of a stream; it is made when it is not there."""
        if stream not in self._run_ids:
            run = self._find(stream) or self._make(stream, self._run_ids[""])
            self._run_ids[stream] = run.info.run_id
        return self._run_ids[stream]

    def conclude(self) -> None:
        """Say of all of them how the run stands, unless the server knows."""
        run = self._history.run
        status = STATUSES.get(run.status, "FAILED")
        if self._federation.info.status == status:
            return
        workers = sorted({worker for one in whole_rounds(self._history) for worker in one.accepted})
        for stream in (*workers, ""):  # last the one that is looked at
            if status == "RUNNING":  # it was stopped, and goes on
                self._client.update_run(self.run_of(stream), status=status)
            else:
                ended = _milliseconds(run.ended_unix or run.created_unix)
                self._client.set_terminated(self.run_of(stream), status, end_time=ended)

    def _find(self, stream: str) -> Any:
        found = self._client.search_runs(
            [self._experiment], f"tags.`{KEY}` = '{_key(self._history, stream)}'", max_results=1
        )
        return found[0] if found else None

    def _make(self, stream: str, parent: str | None) -> Any:
        run = self._history.run
        tags = {KEY: _key(self._history, stream), "synthetic": str(run.synthetic)}
        made = self._client.create_run(
            self._experiment,
            start_time=_milliseconds(run.created_unix),
            run_name=f"worker {stream}" if stream else run.name,
            tags={**tags, **({PARENT: parent} if parent else {})},
        )
        if not stream:
            settings = settings_of(self._history).items()
            params = [self._entities.Param(name, value[:PARAM_CHARACTERS]) for name, value in settings]
            self._client.log_batch(made.info.run_id, params=params)
        return made


def _key(history: RunHistory, stream: str) -> str:
    """Return what tells the run, and a worker in it, from those of other records."""
    text = f"{history.run.name}\n{history.run.created_unix!r}\n{stream}"
    return sha256(text.encode()).hexdigest()


def _milliseconds(unix: float) -> int:
    return int(unix * 1000)


def _first_line(error: BaseException) -> str:
    """Return why, without the names of the classes that it went through."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "Connection refused" in text:
        return "nobody listens there"
    return text if len(text) <= 200 else f"{text[:200]} ..."
