"""Errors of data preparation, split by what the caller should do next."""


class PrepError(Exception):
    """Data cannot be prepared as asked. The text says what was found, what is allowed, and the fix."""


class MissingExtra(PrepError):
    """A package that only this source needs is not installed. The text says how to get it."""
