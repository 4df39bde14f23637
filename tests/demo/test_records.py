import base64
import json
from random import Random

from extproc.demo import records


def test_json_records_parse_and_agree() -> None:
    """The compact and the indented form are the same order under the same seed."""
    assert json.loads(records.json_line(Random(1))) == json.loads(records.json_block(Random(1)))


def test_csv_rows_have_one_width() -> None:
    """Every row has a sensor, a time and six readings."""
    rng = Random(1)
    assert {len(records.csv_row(rng).split(",")) for _ in range(20)} == {8}


def test_base64_lines_decode() -> None:
    """A line is real base64 of MIME's length."""
    line = records.base64_line(Random(1))
    assert len(line) == 76
    assert len(base64.b64decode(line, validate=True)) == 57


def test_log_lines_differ() -> None:
    """Lines of one generator are single lines, and no two are the same."""
    rng = Random(1)
    lines = [records.log_line(rng) for _ in range(50)]
    assert len(set(lines)) == 50
    assert not any("\n" in line for line in lines)
