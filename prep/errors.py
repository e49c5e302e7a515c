"""Errors of data preparation. Those of learning, like `MissingExtra`, come out of it as well."""


class PrepError(Exception):
    """Data cannot be prepared as asked. The text says what was found, what is allowed, and the fix."""
