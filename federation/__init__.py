"""Federated learning in rounds: a Provider, Workers, an Aggregator and an Evaluator.

Each role is one actor. The Provider asks workers to train and decides whose update counts, the Aggregator
averages and commits each round before anybody hears of it, the Evaluator scores it. The numbers are those of
`federation.learning`, which knows nothing of actors; `federation.simulation` plays the same rounds without
sockets.

It is no scheduler of clusters and no store of data: samples never leave a worker, and processes are started
by people, by their tools, or by the launcher of one machine. It does not hide updates from the Provider:
there is no secure aggregation.

Where to go on: `messages.py` (what they say) and `round.py` (who counts), then `provider.py` and `course.py`,
`worker.py`, `aggregator.py` and `evaluator.py`. What a run does is told as `events.py`, which `view.py` makes
a picture of. How it is started, from the outside in: `__main__.py` and `flags.py` (the command line),
`settings.py` and `config.py` (what a setting is, and those of each role),
`programs.py` (signals and exit statuses of one role), `roles.py` (a role as an actor in a system of its own);
and for the whole mode `start.py` (from one command to a summary), `launch.py` and `crew.py` (its processes).

Nothing is imported here: `federation.learning` is also for programs without actors. Embedding is by module:

    from federation.config import ProviderConfig
    from federation.provider import Provider
"""
