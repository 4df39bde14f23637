"""What estimators have learned, as values that can be written and read; knows neither how it is learned nor files."""

from typing import Annotated

import msgspec

from extproc.routing.values import Category, Stage

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""What a float still tells from the next one, far above all that can be counted."""
Spread = Annotated[float, msgspec.Meta(ge=0, le=100)]
"""A deviation or a variance of a logarithm: no usage that is taken in lies further than a factor of e¹⁰ off."""


Size = Annotated[float, msgspec.Meta(ge=0, le=2)]
"""Of outliers, for each answer: none counts as more than two."""


class RatioState(msgspec.Struct, frozen=True):
    """What the published estimator learned of one model and category."""

    model: str
    category: Category
    bytes_per_token: Annotated[float, msgspec.Meta(ge=1.0, le=8.0)]
    deviation: Annotated[float, msgspec.Meta(ge=0.0, le=8.0)]
    samples: Count


class RidgeState(msgspec.Struct, frozen=True):
    """Sufficient statistics of a ridge regression, arrays of 64-bit floats."""

    information: bytes
    moment: bytes


class ExemplarsState(msgspec.Struct, frozen=True):
    """The exemplars that are in use, arrays of 32-bit floats, one row each."""

    places: bytes
    rows: bytes
    learned: bytes
    """Of each: its samples, its mean, its variance."""


class DensityState(msgspec.Struct, frozen=True):
    """Tokens per byte of one kind of text."""

    mean: Annotated[float, msgspec.Meta(ge=-10, le=10)]
    variance: Spread
    samples: Count


class ServedState(msgspec.Struct, frozen=True):
    """What was learned of one serving model."""

    model: str
    samples: Count
    telling: Count
    doubt: Annotated[float, msgspec.Meta(ge=0, le=1)]
    sampling_variance: Spread
    wanted: Count
    alarms: Count
    linear: RidgeState
    exemplars: ExemplarsState
    framing: RidgeState
    framing_variances: tuple[Spread, Spread]
    densities: dict[Category, DensityState]
    errors: dict[Stage, bytes]
    """Histograms, as are the next two; states of version 1 have only this one, and nothing of what is usual."""
    positions: dict[Stage, bytes] = {}
    distances: dict[Stage, bytes] = {}
    watched: Count = 0
    """Answers that say how often errors are outliers."""
    usual: Size = 0.0
    """What those came to for each."""


class EstimatorState(msgspec.Struct, frozen=True):
    """All that an estimator has learned."""

    served: list[ServedState] = []
    ratios: list[RatioState] = []
