# %% [markdown]
# # Three strategies, when the classes lie unevenly
#
# Twenty workers share ten classes, but no two have the same mix. How well does the average of their
# models do, beside two other ways to make one model of many?
#
# Open this file as a notebook: VS Code, PyCharm and Spyder run its cells as they are, and in Jupyter the
# extension jupytext does. Or run it as a program, `python docs/compare_strategies.py` from the checkout
# with its environment. It needs pandas: `pip install 'trioactor[tables]'`. All that it writes lies in
# `workspace/`.

# %%
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import trio

from federation.learning import generator_for, load_features, make_partition
from federation.simulation import SimulationConfig, simulate
from persistence import load_run
from persistence.plot_comparison import draw_comparison
from prep import features_file, prepare_synthetic

WORKSPACE = Path("workspace")
SEED = 1

# %% [markdown]
# ## Prepare
#
# Satellite tiles that a program draws, and 512 features of each. The second time they are there already.
# Note that they are made up: what is learnt here says something of strategies, nothing of the earth.

# %%
prepared = prepare_synthetic(WORKSPACE, samples=800)
features = load_features(features_file(WORKSPACE))
class_names = list(features.meta.class_names)
print(f"{features.sample_count} tiles, {features.feature_count} features, {len(class_names)} classes")

# %% [markdown]
# ## A skewed partition
#
# The mix of classes of each worker is drawn from a Dirichlet distribution (Hsu et al., 2019): with alpha
# 0.1 most workers have one class or two. The simulation deals the samples out in the same way, but for
# those that it keeps to score on.

# %%
deal = make_partition("dirichlet", alpha=0.1)
rows_of_workers = deal(features.y, 20, generator_for(SEED, "partition"))
counts = pd.DataFrame(
    [np.bincount(features.y[rows], minlength=len(class_names)) for rows in rows_of_workers],
    columns=class_names,
)
counts.index.name = "worker"
print(counts.head(8).to_string())

# %% [markdown]
# ## Simulate
#
# Forty rounds with a quarter of the workers each, and nothing differs but the strategy: the mean
# (FedAvg), the mean with momentum (FedAvgM), and the median of each weight, which is meant for workers
# that lie.
#
# In a notebook `trio.run` works in a cell as it does here.


# %%
def play(strategy: str) -> str:
    """Simulate with a strategy, and return the name of the run."""
    config = SimulationConfig(
        workspace=WORKSPACE,
        features=features_file(WORKSPACE),
        workers=20,
        partition="dirichlet",
        alpha=0.1,
        fraction=0.25,
        rounds=40,
        epochs=2,
        batch_size=16,
        strategy=strategy,
        seed=SEED,
    )
    return trio.run(simulate, config).run


runs = {strategy: play(strategy) for strategy in ("fedavg", "fedavgm", "median")}

# %% [markdown]
# ## Compare
#
# The record has all of it. A run shows itself in a notebook, and is a DataFrame by round, by worker, by
# region or by class.

# %%
histories = {strategy: load_run(WORKSPACE / "training.db", run) for strategy, run in runs.items()}
accuracy = pd.DataFrame(
    {strategy: history.to_pandas().set_index("round")["accuracy"] for strategy, history in histories.items()}
)
print(accuracy.iloc[[0, 4, 9, 19, 39]].round(3).to_string())

# %% [markdown]
# The median does badly here, and not because it is a bad strategy: most workers of a round have no
# sample of a class, so the weight that most of them agree on is one that has not seen it. Momentum
# carries over what the workers of earlier rounds knew.

# %%
last = {
    strategy: history.to_pandas("class").query("round == 40").set_index("class")["accuracy"]
    for strategy, history in histories.items()
}
print(pd.DataFrame(last).round(2).to_string())

# %% [markdown]
# ## Plot
#
# The pictures are matplotlib's figures, drawn without pyplot; in Jupyter, `%matplotlib inline` shows one
# that a cell ends with.

# %%
figure = draw_comparison(list(histories.values()))
figure.savefig(WORKSPACE / "strategies.png")
print(f"the picture is in {WORKSPACE / 'strategies.png'}")

# %% [markdown]
# ## Look into the record
#
# It is one SQLite file, and any program may read it, also while a run goes on; `persistence/SCHEMA.md`
# describes its tables. How skewed the work was: the samples behind each round's average, and the least
# and the best training accuracy in it.

# %%
QUERY = """
SELECT runs.strategy, worker_updates.round, count(*) AS workers, sum(samples) AS samples,
       min(accuracy) AS least, max(accuracy) AS best
FROM worker_updates JOIN runs ON runs.id = worker_updates.run
WHERE outcome = 'accepted' AND runs.name IN (?, ?, ?)
GROUP BY runs.id, worker_updates.round
ORDER BY runs.id, worker_updates.round
"""
record = sqlite3.connect(f"file:{WORKSPACE / 'training.db'}?mode=ro", uri=True)
rounds = pd.read_sql_query(QUERY, record, params=list(runs.values()))
record.close()
print(rounds.groupby("strategy")[["samples", "least", "best"]].mean().round(2).to_string())
