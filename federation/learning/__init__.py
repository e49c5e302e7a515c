"""Learning in plain NumPy: data files, the model, averaging, and where chance comes from.

It knows no trio, no network and no database, and is no library of deep learning: the model of the house is
linear, and others come in by the protocol `Model`. The same classes serve the roles of a federation, the
peers of a gossip network, and a notebook:

>>> import numpy as np
>>> from federation.learning import SimpleClassifier, worker_generator
>>> X, y = np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1])
>>> model = SimpleClassifier(feature_count=4, class_count=2)
>>> chance = worker_generator(0, "A", 1)
>>> loss = model.fit(X, y, epochs=50, batch_size=2, learning_rate=0.5, generator=chance)
>>> model.evaluate(X, y).accuracy
1.0

Equal seeds give equal bytes, whatever the number of processes and the order in which models arrive; on
another processor, or with another NumPy, the last bits of a matrix product may differ.

Where to go on: `regions.py` is the data of a site, `model.py` what is trained, `averaging.py` and
`strategy.py` how many models become one (`server_steps.py` and `robust.py` have the strategies of the
papers), `baseline.py` a federation in one loop, to whose bytes all machinery must come. For who has more than
NumPy there are `torch_model.py`, `estimator.py` (scikit-learn) and `model_files.py` (safetensors, ONNX), each
imported by its own name.
"""

from .archive import read_archive, write_archive, writing_whole
from .averaging import (
    Contribution,
    RunningMean,
    average_contributions,
    federated_averaging,
    weighted_mean,
)
from .baseline import Budget, train_alone, train_together
from .buffered import GatheringStale, StaleUpdate, combine_buffered, staleness_factor
from .chance import generator_for, one_blas_thread, worker_generator
from .errors import (
    ArchiveError,
    LearningError,
    MissingExtra,
    ParamsError,
    PartitionError,
    RegionError,
    StrategyError,
    TrainingDiverged,
    TrainingStopped,
)
from .model import Metrics, Model, SimpleClassifier, never
from .params import Params, check_params, copy_params, load_params, model_sha256, save_params
from .partition import PARTITIONS, Partition, by_class, by_size, dirichlet, iid, make_partition
from .regions import (
    Region,
    RegionMeta,
    load_features,
    load_meta,
    load_region,
    save_features,
    save_region,
)
from .robust import CoordinateMedian, Krum, MultiKrum, TrimmedMean
from .schedules import SCHEDULES, Constant, Cosine, Schedule, Steps, WarmUp, make_schedule
from .server_steps import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedYogi
from .strategies import STRATEGIES, make_strategy, strategy_parameters
from .strategy import Gathering, State, Strategy

__all__ = [
    "PARTITIONS",
    "SCHEDULES",
    "STRATEGIES",
    "ArchiveError",
    "Budget",
    "Constant",
    "Contribution",
    "CoordinateMedian",
    "Cosine",
    "FedAdagrad",
    "FedAdam",
    "FedAvg",
    "FedAvgM",
    "FedYogi",
    "Gathering",
    "GatheringStale",
    "Krum",
    "LearningError",
    "Metrics",
    "MissingExtra",
    "Model",
    "MultiKrum",
    "Params",
    "ParamsError",
    "Partition",
    "PartitionError",
    "Region",
    "RegionError",
    "RegionMeta",
    "RunningMean",
    "Schedule",
    "SimpleClassifier",
    "StaleUpdate",
    "State",
    "Steps",
    "Strategy",
    "StrategyError",
    "TrainingDiverged",
    "TrainingStopped",
    "TrimmedMean",
    "WarmUp",
    "average_contributions",
    "by_class",
    "by_size",
    "check_params",
    "combine_buffered",
    "copy_params",
    "dirichlet",
    "federated_averaging",
    "generator_for",
    "iid",
    "load_features",
    "load_meta",
    "load_params",
    "load_region",
    "make_partition",
    "make_schedule",
    "make_strategy",
    "model_sha256",
    "never",
    "one_blas_thread",
    "read_archive",
    "save_features",
    "save_params",
    "save_region",
    "staleness_factor",
    "strategy_parameters",
    "train_alone",
    "train_together",
    "weighted_mean",
    "worker_generator",
    "write_archive",
    "writing_whole",
]
