"""Short programs that show the runtime at work: `python -m trioactor.examples.counter`, and so on.

- `counter`: an actor, tell and ask.
- `worker_pool`: workers that fail now and then, under a supervisor.
- `pipeline`: three stages, the slowest sets the pace.
- `measuring`, `tracing`: middleware that counts and times messages, or makes OpenTelemetry spans of them.
"""
