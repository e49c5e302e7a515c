"""Every error of learning, split by what the caller should do next.

| error | what happened | what to do |
| --- | --- | --- |
| `ArchiveError` | an .npz file is missing, cut off, or not one | name another file, or make it again |
| `RegionError` | data, or a file of it, cannot be learnt from | mend it; the text names the fix |
| `PartitionError` | samples cannot be dealt out to parts as asked | the text names what is possible |
| `ParamsError` | weights do not fit the model, or are not numbers | refuse them; never average them |
| `StrategyError` | a strategy's settings, or too few updates for what it promises | the text names the fix |
| `TrainingStopped` | training was asked to stop between two batches | nothing: it is the answer |
| `TrainingDiverged` | the loss or the weights left the finite numbers | a smaller learning rate |
| `MissingExtra` | a package that only some users need is not installed | install it; the text says how |
"""


class LearningError(Exception):
    """Base of all errors that learning raises."""


class ArchiveError(LearningError):
    """An .npz file could not be read as one. The text names the file and what was found."""


class RegionError(LearningError, ValueError):
    """Data that cannot be learnt from. The text says what was found, what is allowed, and the fix."""


class PartitionError(LearningError, ValueError):
    """Samples cannot be dealt out as asked. The text says what was asked, and what is possible."""


class ParamsError(LearningError, ValueError):
    """Weights of the wrong names, shapes or kind, or with values that are no finite numbers."""


class StrategyError(LearningError, ValueError):
    """A strategy was set up wrongly, or got fewer contributions than its promise needs."""


class TrainingStopped(LearningError):
    """`should_stop` became true between two batches."""


class TrainingDiverged(LearningError, ArithmeticError):
    """Training left the finite numbers. Sending such weights on would spoil the average."""


class MissingExtra(LearningError, ImportError):
    """A package is not installed that only some users need.

    Args:
        what: Needs it.
        otherwise: How to do without; empty when there is no other way.

    Attributes:
        package: What cannot be imported.
        extra: The extra of ours that brings it.
    """

    def __init__(self, package: str, *, extra: str, what: str = "this", otherwise: str = "") -> None:
        super().__init__(
            f"{what} needs the package {package}, which is not installed here; get it with "
            f"pip install 'trioactor[{extra}]'{f', or {otherwise}' if otherwise else ''}"
        )
        self.package = package
        self.extra = extra
