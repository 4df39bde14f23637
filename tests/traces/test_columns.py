import pytest

from extproc.routing.values import Category
from extproc.traces.columns import ABSENT, CATEGORIES, Columns, Record, Trace


def gather(*records: Record) -> Trace:
    """A trace of these records."""
    columns = Columns()
    for record in records:
        columns.add(record)
    return columns.trace()


def test_columns_that_a_record_lacks_are_none() -> None:
    """Outputs and times are of use only where all have them."""
    trace = gather(Record(5, 1, 2.0), Record(6))
    assert trace.prompt_tokens.tolist() == [5, 6]
    assert trace[1:-2] == (None,) * 6
    assert trace.requests == 2


def test_columns_that_only_some_records_have_are_marked() -> None:
    """Limits and kinds of text stand where they are known."""
    trace = gather(Record(5, 1, 0.0, 16), Record(6, 1, 1.0, None, Category.LOGS))
    assert trace.declared_tokens is not None
    assert trace.categories is not None
    assert trace.declared_tokens.tolist() == [16, ABSENT]
    assert trace.categories.tolist() == [ABSENT, CATEGORIES.index(Category.LOGS)]


def test_nothing_is_gathered_of_nothing() -> None:
    """No record, or none with a prompt."""
    assert gather().requests == 0
    assert gather(Record(0, 5)).requests == 0


@pytest.mark.parametrize(
    "record", [Record(-1), Record(1, -1), Record(2**31), Record(1, 1, float("inf")), Record(1, 1, float("nan"))]
)
def test_impossible_numbers_are_refused(record: Record) -> None:
    """Counts below 0 or beyond any context; times that are none."""
    with pytest.raises(ValueError, match="is no"):
        gather(record)
