"""Federated learning in rounds: a Provider, Workers, an Aggregator and an Evaluator."""
