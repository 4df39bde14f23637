import json
from typing import Any

from extproc.accessreport.asjson import as_json


def test_everything_has_a_name(tell: Any, answered: Any) -> None:
    """Shares with their intervals, the verdict in words, and no plan where none was asked for."""
    found = json.loads(as_json(tell([answered(misroute="over")])))
    assert (found["schema"], found["requests"], found["plan"]) == (1, 1, None)
    assert set(found["misroutes"]["over"]) == {"mean", "low", "high"}
    assert len(found["verdict"]) == 3
    assert found["promised"] == "open"
