"""Federated learning in rounds: a Provider, Workers, an Aggregator and an Evaluator.

Start with `messages.py` (what they say) and `round.py` (who counts), then `provider.py` and `course.py`,
`worker.py`, `aggregator.py` and `evaluator.py`; `launch.py` puts them into processes. What a run does is
told as `events.py`, which `view.py` makes a picture of.

Nothing is imported here: `federation.learning` is also for programs without actors. Embedding is by module:

    from federation.config import ProviderConfig
    from federation.provider import Provider
"""
