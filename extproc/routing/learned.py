"""What estimators have learned, as values that can be written and read; knows neither how it is learned nor files."""

from typing import Annotated

import msgspec

from extproc.routing.values import Category, Stage

Count = Annotated[int, msgspec.Meta(ge=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class RatioState(msgspec.Struct, frozen=True):
    """What the published estimator learned of one model and category."""

    model: str
    category: Category
    bytes_per_token: Annotated[float, msgspec.Meta(ge=1.0, le=8.0)]
    deviation: Annotated[float, msgspec.Meta(ge=0.0, le=8.0)]
    samples: Count


class RidgeState(msgspec.Struct, frozen=True):
    """Sufficient statistics of a ridge regression."""

    information: bytes
    moment: bytes


class ExemplarsState(msgspec.Struct, frozen=True):
    """The exemplars that are in use, arrays of 32-bit floats, one row each."""

    places: bytes
    rows: bytes
    learned: bytes
    """Of each: its samples, its mean, its variance."""


class ServedState(msgspec.Struct, frozen=True):
    """What was learned of one serving model."""

    model: str
    samples: Count
    doubt: NotNegative
    sampling_variance: NotNegative
    log_density: float
    density_variance: NotNegative
    wanted: Count
    alarms: Count
    linear: RidgeState
    exemplars: ExemplarsState
    framing: RidgeState
    framing_variances: tuple[NotNegative, NotNegative]
    errors: dict[Stage, bytes]


class EstimatorState(msgspec.Struct, frozen=True):
    """All that an estimator has learned."""

    served: list[ServedState] = []
    ratios: list[RatioState] = []
