"""What was learned, as values that can be written, read again and added up; knows no file.

Written as MessagePack behind a line that names the format and a checksum. Reading never trusts: another version, a
flipped bit, an array of another shape or a number that is none raise `StateError`, and the caller starts cold.
Conversation memory is not part of it: its hashes are keyed for one process.
"""

import hashlib
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from extproc.errors import DualpoolError
from extproc.routing import exact
from extproc.routing.exemplars import CAPACITY
from extproc.routing.features import COUNT
from extproc.routing.kernels import Array
from extproc.routing.learned import DensityState, EstimatorState, ExemplarsState, RidgeState, ServedState
from extproc.routing.linear import TERMS
from extproc.routing.margins import PRIOR_ERRORS
from extproc.routing.outputs import OutputState
from extproc.routing.ridge import Ridge
from extproc.routing.served import Served

VERSION = 2
"""Of the format. Features, their order and the prior's weights are part of it: change it when they change."""
_OLDEST = 1
"""Of the versions that are read: what it lacks, see `ServedState`, begins as if nothing had been seen of it."""
_MAGIC = b"dualpool state "
_DIGEST_BYTES = 16
STATE_MAX_BYTES = 64 * 2**20
"""Bound on what is read; a full state has 4 MiB."""
_MOST_OF_MEANS, _MOST_OF_SUMS = 100.0, 1e9
"""Means of logarithms and shares of a prompt stay below 20, sums over the answers that are not forgotten below 1e6 a
replica. Beyond these an estimate would leave the range of numbers."""
_ROUNDING = 1e-9
"""Of sums."""
_SINGLE, _DOUBLE = "<f4", "<f8"
"""Exemplars are many and rough. Statistics are few, and what they leave open is a small difference of large numbers."""


class StateError(DualpoolError):
    """A state that cannot be used: of another version, cut short, or altered."""


class RouterState(msgspec.Struct, frozen=True):
    """All that a router has learned."""

    estimator: EstimatorState = EstimatorState()
    outputs: OutputState = OutputState()
    """Of answers whose length nobody limits."""


def encode(state: RouterState) -> bytes:
    """A state as bytes that `decode` takes."""
    body = _ENCODER.encode(state)
    return _head(body, VERSION) + body


def decode(raw: bytes) -> RouterState:
    """A state from bytes.

    Raises:
        StateError: they are no state of this version, or not what was written.
    """
    if not raw.startswith(_MAGIC) or len(raw) > STATE_MAX_BYTES:
        raise StateError("it is not a state of dualpool")
    head, _, body = raw.partition(b"\n")
    version = next((known for known in range(_OLDEST, VERSION + 1) if head.startswith(_MAGIC + b"%d " % known)), None)
    if version is None:
        raise StateError(f"it is of another version; this one reads versions {_OLDEST} to {VERSION}")
    if head + b"\n" != _head(body, version):
        raise StateError("it is damaged: its checksum does not match")
    try:
        return _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise StateError("it is damaged: its parts are not what they should be") from error


def snapshot(model: str, served: Served) -> ServedState:
    """What was learned of a serving model."""
    exemplars, used = served.model.exemplars, served.model.exemplars.by_age()
    return ServedState(
        model=model,
        samples=served.model.samples,
        telling=served.model.telling,
        doubt=served.model.doubt,
        sampling_variance=served.sampling_variance,
        densities={kind: DensityState(d.mean, d.variance, d.samples) for kind, d in served.densities.items()},
        wanted=served.wanted,
        alarms=served.vigil.alarms,
        linear=_ridge_state(served.model.linear.ridge),
        exemplars=ExemplarsState(
            places=_pack(exemplars.places[:, used].T),
            rows=_pack(exemplars.rows[used]),
            learned=_pack(exemplars.learned[:, used].T),
        ),
        framing=_ridge_state(served.framing.ridge),
        framing_variances=(served.framing.variances[0], served.framing.variances[1]),
        errors={stage: _pack(margin.errors) for stage, margin in served.margins.items()},
        positions={stage: _pack(margin.positions) for stage, margin in served.margins.items()},
        distances={stage: _pack(margin.distances) for stage, margin in served.margins.items()},
        watched=served.vigil.answers,
        usual=served.vigil.usual,
    )


def absorb(served: Served, state: ServedState) -> None:
    """Add what another replica has learned of a serving model; a cold one thereby becomes that replica's like.

    The same answers must not be added twice: they would count twice.

    Raises:
        StateError: its arrays do not fit; nothing was changed then.
    """
    parts = _Parts(state)
    model, mine = served.model, served.model.samples
    weight = state.samples / max(1, mine + state.samples)
    served.sampling_variance += weight * (state.sampling_variance - served.sampling_variance)
    for category, density in state.densities.items():
        served.densities[category].absorb(density.mean, density.variance, density.samples)
    for kind, variance in enumerate(state.framing_variances):
        served.framing.variances[kind] += weight * (variance - served.framing.variances[kind])
    parts.add_to(served)
    model.linear.update()
    model.samples += state.samples
    model.telling += state.telling
    if state.samples:
        model.doubt = max(model.doubt, state.doubt) if mine else state.doubt
    served.wanted = max(served.wanted + state.samples, mine + state.wanted)
    served.vigil.absorb(state.alarms, state.watched, state.usual)
    served.refresh()


class _Parts:
    """The arrays of a state, checked all at once before any of them is used."""

    def __init__(self, state: ServedState) -> None:
        self._linear = _unpack_ridge(state.linear, TERMS)
        self._framing = _unpack_ridge(state.framing, exact.TERMS)
        self._places = _unpack(state.exemplars.places, COUNT, _MOST_OF_MEANS)
        self._rows = _unpack(state.exemplars.rows, TERMS, _MOST_OF_MEANS)
        self._learned = _unpack(state.exemplars.learned, 3, _MOST_OF_MEANS)
        self._errors, self._positions, self._distances = (
            {stage: _unpack_counts(raw) for stage, raw in counts.items()}
            for counts in (state.errors, state.positions, state.distances)
        )
        lengths = {len(self._places), len(self._rows), len(self._learned)}
        if (
            len(lengths) != 1
            or max(lengths) > CAPACITY
            or (self._learned[:, 0] <= 0).any()
            or (self._learned[:, 2] < 0).any()
        ):
            raise StateError("it is damaged: its exemplars do not fit together")

    def add_to(self, served: Served) -> None:
        """Statistics add; exemplars join those near them."""
        _add_ridge(served.model.linear.ridge, self._linear)
        _add_ridge(served.framing.ridge, self._framing)
        for place, row, learned in zip(self._places, self._rows, self._learned.tolist(), strict=True):
            served.model.exemplars.absorb(place.astype(np.float32), row, tuple(learned))
        for stage, margin in served.margins.items():
            margin.errors = margin.errors + np.maximum(0.0, self._errors.get(stage, PRIOR_ERRORS) - PRIOR_ERRORS)
            margin.positions = margin.positions + self._positions.get(stage, _NO_COUNTS)
            margin.distances = margin.distances + self._distances.get(stage, _NO_COUNTS)


def _ridge_state(ridge: Ridge) -> RidgeState:
    return RidgeState(_pack(ridge.information, _DOUBLE), _pack(ridge.moment, _DOUBLE))


def _unpack_ridge(state: RidgeState, terms: int) -> tuple[Array, Array]:
    information, moment = (_unpack(raw, terms, _MOST_OF_SUMS, _DOUBLE) for raw in (state.information, state.moment))
    if information.shape != (terms, terms) or len(moment) != 1 or not _is_sum_of_squares(information):
        raise StateError("it is damaged: its statistics do not fit together")
    return information, moment[0]


def _is_sum_of_squares(information: Array) -> bool:
    """Whether rows can have come to this: then it can be solved for, whatever is added."""
    least = np.linalg.eigvalsh(information)[0]
    return bool(least >= -_ROUNDING * (1.0 + np.trace(information)) and (information == information.T).all())


def _unpack_counts(raw: bytes) -> Array:
    rows = _unpack(raw, len(PRIOR_ERRORS), _MOST_OF_SUMS)
    if len(rows) != 1 or (rows < 0).any():
        raise StateError("it is damaged: its histograms hold no counts")
    counts: Array = rows[0]
    return counts


def _add_ridge(ridge: Ridge, statistics: tuple[Array, Array]) -> None:
    ridge.information = ridge.information + statistics[0]
    ridge.moment = ridge.moment + statistics[1]
    ridge.solve()


def _pack(array: npt.NDArray[Any], number: str = _SINGLE) -> bytes:
    return array.astype(number).tobytes()


def _unpack(raw: bytes, columns: int, most: float, number: str = _SINGLE) -> Array:
    """Rows of so many numbers, none beyond what can have been learned."""
    if len(raw) % (np.dtype(number).itemsize * columns):
        raise StateError("it is damaged: an array is of another shape")
    array = np.frombuffer(raw, number).astype(np.float64).reshape(-1, columns)
    if not (np.abs(array) <= most).all():  # nor is what is no number
        raise StateError("it is damaged: an array holds what nobody can have learned")
    return array


def _head(body: bytes, version: int) -> bytes:
    digest = hashlib.blake2b(body, digest_size=_DIGEST_BYTES).hexdigest()
    return _MAGIC + f"{version} {digest}\n".encode()


_NO_COUNTS: Array = np.zeros(len(PRIOR_ERRORS))
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(RouterState)
