"""An instance's card tells its context and its model, and whatever else stands there does no harm."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.pools.ask import AskError, PollOutcome
from extproc.pools.card import CARD_MAX_BYTES, Card, CardSink, card_of


def models(*entries: Any) -> bytes:
    """An answer with these models."""
    return json.dumps({"object": "list", "data": list(entries)}).encode()


def test_vllms_answer_is_understood() -> None:
    """Fields nobody asked for are passed over."""
    entry = {"id": "org/model", "object": "model", "created": 1, "max_model_len": 8192, "permission": [{"a": None}]}
    assert card_of(models(entry)) == Card("org/model", 8192)


def test_of_base_model_and_adapters_the_least_context_counts() -> None:
    """Adapters mostly say none."""
    entries = [{"id": "lora", "max_model_len": None}, {"id": "base", "max_model_len": 8192}, {"id": "other"}]
    assert card_of(models(*entries)) == Card("base", 8192)
    assert card_of(models(*entries, {"id": "less", "max_model_len": 4096})) == Card("less", 4096)


@pytest.mark.parametrize("value", [None, 0, -1, 2**31 + 1, 8192.0, "8192", True, [8192]])
def test_what_is_no_context_is_no_card(value: object) -> None:
    """A number that cannot be a context is not clamped by."""
    assert card_of(models({"id": "m", "max_model_len": value})) is None


def test_no_models_is_no_card() -> None:
    """An empty list is an answer that says nothing."""
    assert card_of(models()) is None
    assert card_of(b"{}") is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"data": 1}',
        b'{"data": [1]}',
        b'{"data": [{"id": 1}]}',
        b"\xff",
        b'{"data": [{"max_model_len": ' + b"[" * 100_000,
    ],
    ids=range(8),
)
def test_another_answer_is_malformed(body: bytes) -> None:
    """It is told from one that says nothing."""
    with pytest.raises(AskError, match="malformed"):
        card_of(body)


def test_a_name_is_made_fit_to_be_shown() -> None:
    """It is not ours: no control characters, no endless line."""
    card = card_of(models({"id": "a\x1b[31m\nb" + "x" * 1000, "max_model_len": 1}))
    assert card is not None
    assert card.model.startswith("a[31mbxx")
    assert len(card.model) == 200


def test_the_answer_is_bounded() -> None:
    """A card is small."""
    sink = CardSink()
    sink.feed(b" " * CARD_MAX_BYTES)
    with pytest.raises(AskError) as refused:
        sink.feed(b" ")
    assert refused.value.outcome is PollOutcome.TOO_LARGE


@given(st.binary(max_size=200))
def test_no_answer_is_an_error_of_ours(body: bytes) -> None:
    """Any bytes are a card, no card, or malformed."""
    with contextlib.suppress(AskError):
        card_of(body)
