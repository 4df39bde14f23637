from typing import Any

import msgspec
import pytest

from extproc.routing.learned import EstimatorState, RatioState, ServedState
from extproc.routing.values import Category, Stage

RIDGE = {"information": b"", "moment": b""}
SERVED: dict[str, Any] = {
    "model": "m",
    "samples": 10,
    "telling": 8,
    "doubt": 0.1,
    "sampling_variance": 0.01,
    "wanted": 0,
    "alarms": 1,
    "linear": RIDGE,
    "exemplars": {"places": b"", "rows": b"", "learned": b""},
    "framing": RIDGE,
    "framing_variances": (0.001, 0.002),
    "densities": {"prose": {"mean": -1.3, "variance": 0.1, "samples": 20}},
    "errors": {"text": b""},
    "positions": {"text": b""},
    "distances": {"text": b""},
    "watched": 9,
    "usual": 0.01,
}
RATIO: dict[str, Any] = {
    "model": "m",
    "category": "prose",
    "bytes_per_token": 4.0,
    "deviation": 0.5,
    "samples": 3,
}
NUMBERS = ["doubt", "sampling_variance", "usual"]
COUNTS = ["samples", "telling", "wanted", "alarms", "watched"]


def read(fields: dict[str, Any], kind: type[msgspec.Struct]) -> Any:
    """As a file would bring it."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(fields), type=kind)


def test_a_state_is_values_alone() -> None:
    """What was written is what is read: names, numbers and packed arrays, under labels that everyone knows."""
    state = EstimatorState(served=[read(SERVED, ServedState)], ratios=[read(RATIO, RatioState)])
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=EstimatorState) == state
    assert list(state.served[0].errors) == [Stage.TEXT]
    assert state.ratios[0].category is Category.PROSE


def test_nothing_learned_is_a_state_too() -> None:
    """The baseline that learns nothing has it."""
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(EstimatorState()), type=EstimatorState) == EstimatorState()


@pytest.mark.parametrize("field", COUNTS)
@pytest.mark.parametrize("value", [-1, 2**53 + 1, 2**64 - 1, 1.5, "1", None])
def test_a_count_is_whole_and_possible(field: str, value: object) -> None:
    """Added to others it must stay a number that can be written again."""
    with pytest.raises(msgspec.ValidationError):
        read({**SERVED, field: value}, ServedState)


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -11.0, 101.0, 1e300, "0", None])
def test_a_number_is_one_that_can_have_been_learned(field: str, value: object) -> None:
    """Of a logarithm's mean or variance, so that estimates stay in the range of numbers."""
    with pytest.raises(msgspec.ValidationError):
        read({**SERVED, field: value}, ServedState)


@pytest.mark.parametrize("variances", [(0.1,), (0.1, 0.1, 0.1), (0.1, -0.1), (float("nan"), 0.1)])
def test_the_template_s_scatter_has_two_kinds(variances: tuple[float, ...]) -> None:
    """Without structure and with it."""
    with pytest.raises(msgspec.ValidationError):
        read({**SERVED, "framing_variances": variances}, ServedState)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bytes_per_token", 0.9),
        ("bytes_per_token", 8.1),
        ("bytes_per_token", float("nan")),
        ("deviation", -0.1),
        ("deviation", float("nan")),
        ("samples", -1),
        ("category", "poetry"),
    ],
)
def test_a_ratio_is_a_possible_one(field: str, value: object) -> None:
    """One to eight bytes a token, of a kind of text that there is."""
    with pytest.raises(msgspec.ValidationError):
        read({**RATIO, field: value}, RatioState)


@pytest.mark.parametrize(
    "change", [{"mean": -11.0}, {"mean": float("nan")}, {"variance": -0.1}, {"variance": float("nan")}, {"samples": -1}]
)
def test_a_density_is_one_that_can_have_been_learned(change: dict[str, float]) -> None:
    """A mean of a logarithm, its variance, and a count."""
    density = {**SERVED["densities"]["prose"], **change}
    with pytest.raises(msgspec.ValidationError):
        read({**SERVED, "densities": {"prose": density}}, ServedState)


@pytest.mark.parametrize(
    ("field", "name"), [("errors", "guess"), ("positions", "guess"), ("distances", "guess"), ("densities", "poetry")]
)
def test_labels_are_those_that_there_are(field: str, name: str) -> None:
    """Another stage or kind of text is another format."""
    (value,) = SERVED[field].values()
    with pytest.raises(msgspec.ValidationError):
        read({**SERVED, field: {name: value}}, ServedState)
