"""The estimator's loops over bytes and arrays, compiled; knows numbers alone, neither models nor requests.

Each is one call for what would be a dozen of numpy: right after a message little of those is in the processor's caches,
and each then costs several microseconds whatever it does. Loops are written out, which is what the compiler is best at.
Single numbers leave as Python's own, also where functions stay interpreted: states and lessons are written with them.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from extproc.compiled import compiled_for

Array = npt.NDArray[np.float64]
Narrow = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

LINE_BREAK: Final = 0x0A


@compiled_for("f8[::1](bytes, i8, u1[::1], u1[::1], u1[:, ::1])")
def shares(text: bytes, text_bytes: int, kinds: Bytes, classes: Bytes, features: Bytes) -> Array:
    """Features of a text, each divided by a number of bytes.

    `kinds` of a byte and `classes` of the next one add up to the number of a pair, whose column of `features` says what
    it counts for. The last of them stands for none. A line break precedes the text.
    """
    histogram, before = np.zeros(features.shape[1], np.int64), kinds[LINE_BREAK]
    for byte in text:
        histogram[before + classes[byte]] += 1
        before = kinds[byte]
    found = np.zeros(features.max() + 1)
    for row in range(features.shape[0]):
        for pair in range(features.shape[1]):
            found[features[row, pair]] += histogram[pair]
    return found[:-1] / max(1, text_bytes)


@compiled_for("UniTuple(f8, 2)(f8[:, ::1], f8[::1], i8, UniTuple(i8, 4))")
def linear(weights: Array, shares: Array, text_bytes: int, framing: tuple[int, int, int, int]) -> tuple[float, float]:
    """Two linear functions, a row of weights each: of shares times bytes, then of what `framing` counts."""
    totals = np.zeros(2)
    for row in range(2):
        for feature in range(len(shares)):
            totals[row] += weights[row, feature] * shares[feature]
        totals[row] *= text_bytes
        for term in range(len(framing)):
            totals[row] += weights[row, len(shares) + term] * framing[term]
    return float(totals[0]), float(totals[1])


@compiled_for("Tuple((f8[::1], f8))(f8[::1], f8[::1], f8[::1], i8, UniTuple(i8, 4), f8)")
def row_of(
    prior: Array, scale: Array, shares: Array, text_bytes: int, framing: tuple[int, int, int, int], least: float
) -> tuple[Array, float]:
    """The terms of a prompt, scaled, as shares of the prior's estimate of it; and that estimate, at least so much."""
    row, total = np.empty(len(prior)), 0.0
    for feature in range(len(shares)):
        row[feature] = shares[feature] * text_bytes
    for term in range(len(framing)):
        row[len(shares) + term] = framing[term]
    for term in range(len(row)):
        total += prior[term] * row[term]
    total = max(least, total)
    return row * scale / total, float(total)


@compiled_for("f8(f8[::1], f8[::1], f8)")
def log_of_prior(row: Array, delta: Array, least: float) -> float:
    """log(estimate / prior's estimate) of a row φ, for a fit's δ; of that share at least."""
    ratio = 1.0
    for term in range(len(row)):
        ratio += row[term] * delta[term]
    return math.log(max(least, ratio))


@compiled_for("Tuple((i8, f8))(f4[::1], f4[:, ::1], f4[::1], i8)")
def nearest(place: Narrow, places: Narrow, halves: Narrow, used: int) -> tuple[int, float]:
    """Of the first `used` columns of `places` the one next to a place, and its squared distance.

    |c|²/2 − c·p is least where |c − p|² is; `halves` are the |c|²/2. Features that a text has not got are passed over.
    """
    distances = halves[:used].copy()
    for feature in range(len(place)):
        share = place[feature]
        if share != 0.0:
            for at in range(used):
                distances[at] -= share * places[feature, at]
    least = int(distances.argmin())
    squared = 0.0
    for feature in range(len(place)):
        squared += float(place[feature] - places[feature, least]) ** 2
    return least, squared


@compiled_for("Tuple((i8, f8, f8, f8, f8))(f8[::1], f4[:, ::1], f4[::1], i8, f8[:, ::1], f8[:, ::1], f8[::1], f8)")
def consult(
    shares: Array, places: Narrow, halves: Narrow, used: int, learned: Array, rows: Array, delta: Array, least: float
) -> tuple[int, float, float, float, float]:
    """The exemplar nearest to a text: its column, squared distance, samples, what a fit gets wrong there, scatter."""
    place = np.empty(len(shares), np.float32)
    for feature in range(len(shares)):
        place[feature] = math.sqrt(shares[feature])
    at, squared = nearest(place, places, halves, used)
    wrong = float(learned[1, at]) - log_of_prior(rows[at], delta, least)
    return at, squared, float(learned[0, at]), wrong, float(learned[2, at])


@compiled_for("void(f8[:, ::1], f8[::1], f8[::1], f8, f8)")
def take_in(information: Array, moment: Array, row: Array, value: float, forgetting: float) -> None:
    """S ← λS + φφᵀ and b ← λb + φy, in place."""
    for i in range(len(row)):
        for j in range(len(row)):
            information[i, j] = forgetting * information[i, j] + row[i] * row[j]
        moment[i] = forgetting * moment[i] + row[i] * value


@compiled_for("f8[::1](f8[:, ::1], f8, f8[::1])")
def solution(information: Array, precision: float, right: Array) -> Array:
    """Solve (S + pI)x = b for x, S symmetric and nowhere negative: Gaussian elimination, which needs no pivots then.

    Every number that is divided by is p at least, whatever roundings have made of S.
    """
    size, left, x = len(right), information.copy(), right.copy()
    for i in range(size):
        left[i, i] += precision
    for i in range(size):
        left[i, i] = max(precision, left[i, i])
        for j in range(i + 1, size):
            factor = left[i, j] / left[i, i]
            for k in range(j, size):
                left[j, k] -= factor * left[i, k]
            x[j] -= factor * x[i]
    for i in range(size - 1, -1, -1):
        for j in range(i + 1, size):
            x[i] -= left[i, j] * x[j]
        x[i] /= left[i, i]
    return x


@compiled_for("void(f8[::1], f8[::1], f8[::1], f8, f8[::1], f8, f8, f8)")
def count_in(
    errors: Array, prior: Array, distances: Array, fading: float, edges: Array, error: float, distance: float, by: float
) -> None:
    """Count an error and a distance in histograms, whose past fades to a prior and to nothing by so much."""
    for at in range(len(errors)):
        errors[at] += fading * (prior[at] - errors[at])
        distances[at] -= fading * distances[at]
    errors[np.searchsorted(edges, error, side="right")] += 1.0
    distances[np.searchsorted(edges, distance, side="right")] += by


@compiled_for("f8[::1](f8[::1])")
def tails(errors: Array) -> Array:
    """Of a histogram: the share that lies above the centre of each bin."""
    above, found = 0.0, np.empty(len(errors))
    for at in range(len(errors) - 1, -1, -1):
        above += errors[at]
        found[at] = above - errors[at] / 2
    return found / above


@compiled_for("i8(f8[::1], f8[::1], f8)")
def edge_by_positions(positions: Array, risks: Array, most: float) -> int:
    """The first edge above which positions times risks come to so much at most; one past the last for none."""
    under, edge = 0.0, len(positions) - 1
    for at in range(len(positions) - 1, 0, -1):
        under += positions[at] * risks[at]
        if not under <= most:
            break
        edge = at - 1
    return edge


@compiled_for("i8(f8[::1], f8[::1], i8[:, ::1], f8)")
def row_by_distances(distances: Array, risks: Array, beyond: Counts, most: float) -> int:
    """The first row of `beyond` by whose risks the distances come to so much at most; one past the last for none."""
    for row in range(len(beyond)):
        under = 0.0
        for at in range(beyond.shape[1]):
            under += distances[at] * risks[beyond[row, at]]
        if under <= most:
            return row
    return len(beyond)
