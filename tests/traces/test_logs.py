import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from extproc.errors import ConfigurationError
from extproc.traces import Trace, read_log, read_trace


def line(**fields: Any) -> dict[str, Any]:
    """A request that went short and was not read, but for what is said."""
    return {"pool": "short", "reason": "fits", "budget_tokens": 1500, "max_tokens": 500, "prompt_tokens": None} | fields


def read(tmp_path: Path, *lines: dict[str, Any], seed: int = 0) -> Trace:
    """A log of these, one a second."""
    path = tmp_path / "access.jsonl"
    timed = ({"arrival_s": float(at), **each} for at, each in enumerate(lines))
    path.write_text("".join(json.dumps(each) + "\n" for each in timed))
    found = read_trace(path, seed=seed)
    assert isinstance(found, Trace)
    return found


def outputs(trace: Trace) -> list[int]:
    """Of a trace that says them all."""
    assert trace.output_tokens is not None
    return list(trace.output_tokens)


def test_every_request_keeps_its_time(tmp_path: Path) -> None:
    """Also those that nobody read, so that the rate is the log's."""
    trace = read(tmp_path, line(prompt_tokens=900, completion_tokens=40), line(), line())
    assert trace.arrival_s is not None
    assert trace.arrival_s.tolist() == [0.0, 1.0, 2.0]
    assert (trace.prompt_tokens.tolist(), outputs(trace), trace.drawn) == ([900] * 3, [40] * 3, 2)


def test_a_line_stands_for_as_many_others_as_its_weight_says(tmp_path: Path) -> None:
    """Requests in doubt are read ten times as often as others, and are not ten times as frequent for that."""
    seldom = [line(prompt_tokens=100, completion_tokens=1, weight=50.0)] * 20
    often = [line(prompt_tokens=900, completion_tokens=1, weight=5.0)] * 20
    trace = read(tmp_path, *seldom, *often, *[line()] * (20 * 49 + 20 * 4))
    found = Counter(trace.prompt_tokens.tolist())
    assert found[100] + found[900] == 1100
    assert found[100] == pytest.approx(1000, abs=30)


def test_all_are_alike_where_all_were_read(tmp_path: Path) -> None:
    """While a model is learned each answer stands for itself: streams without usage are like any of them."""
    known = [line(prompt_tokens=tokens, completion_tokens=1, weight=1.0) for tokens in (100, 200, 300, 400, 500)]
    found = Counter(read(tmp_path, *known, *[line()] * 1000).prompt_tokens.tolist())
    assert [found[tokens] for tokens in (100, 200, 300, 400, 500)] == pytest.approx([201] * 5, abs=45)


def test_lengths_come_from_requests_that_look_alike(tmp_path: Path) -> None:
    """Of the same pool, reason, size and declared output, where enough of those were read."""
    short = [line(prompt_tokens=900, completion_tokens=10)] * 5
    smaller = [line(budget_tokens=600, prompt_tokens=90, completion_tokens=10)] * 5
    long = [line(pool="long", reason="exceeds", budget_tokens=20_000, prompt_tokens=18_000, completion_tokens=10)] * 5
    unread = [line(), line(budget_tokens=620), line(pool="long", reason="exceeds", budget_tokens=22_000)]
    assert read(tmp_path, *short, *smaller, *long, *unread).prompt_tokens.tolist()[-3:] == [900, 90, 18_000]


def test_a_group_too_small_to_draw_from_is_widened(tmp_path: Path) -> None:
    """Four of the same size are not enough: others of the same reason are drawn too."""
    few = [line(prompt_tokens=900, completion_tokens=1)] * 4
    others = [line(budget_tokens=600, prompt_tokens=90, completion_tokens=1)] * 4
    trace = read(tmp_path, *few, *others, *[line()] * 200)
    assert set(trace.prompt_tokens.tolist()[8:]) == {900, 90}


def test_groups_that_are_never_read_get_lengths_of_their_pool(tmp_path: Path) -> None:
    """Media go long unread; they are load all the same."""
    long = [line(pool="long", reason="exceeds", prompt_tokens=18_000, completion_tokens=1)] * 5
    short = [line(prompt_tokens=9, completion_tokens=1)] * 5
    media = line(pool="long", reason="media", budget_tokens=None, max_tokens=None)
    assert read(tmp_path, *short, *long, media).prompt_tokens.tolist()[-1] == 18_000


def test_nobody_writes_more_than_was_declared(tmp_path: Path) -> None:
    """A length that was drawn is cut at the request's own limit, one that was read stays."""
    known = [line(prompt_tokens=900, completion_tokens=400)] * 5
    assert outputs(read(tmp_path, *known, line(max_tokens=300)))[4:] == [400, 300]


def test_what_no_model_answers_is_no_load(tmp_path: Path) -> None:
    """Lists of models, bodies that are no requests, streams that ended before a decision."""
    others = [
        line(pool="long", reason="not_inference"),
        line(pool="long", reason="unreadable"),
        line(pool=None, reason="ended_early"),
    ]
    assert read(tmp_path, line(prompt_tokens=5, completion_tokens=1), *others).requests == 1


def test_the_seed_decides_what_is_drawn(tmp_path: Path) -> None:
    """The same log and seed give the same plan."""
    known = [line(prompt_tokens=tokens, completion_tokens=1) for tokens in range(1, 10)]
    lines = [*known, *[line()] * 50]
    one, same, other = (read(tmp_path, *lines, seed=seed).prompt_tokens.tolist() for seed in (1, 1, 2))
    assert one == same != other


def test_several_logs_are_one(tmp_path: Path) -> None:
    """Those of two processes, and of before a file was renamed, in the order of arrival."""
    paths = [tmp_path / name for name in ("one", "two")]
    paths[0].write_text('{"arrival_s": 5, "prompt_tokens": 50}\n{"arrival_s": 7, "prompt_tokens": 70}\n')
    paths[1].write_text('{"arrival_s": 6, "prompt_tokens": 60}\n')
    assert read_log(paths).prompt_tokens.tolist() == [50, 60, 70]


def test_a_line_that_a_killed_process_left_is_passed_over(tmp_path: Path) -> None:
    """It has no end; a line that has one and does not fit is a mistake."""
    path = tmp_path / "log"
    path.write_text('{"prompt_tokens": 5}\n{"prompt_tok\n{"prompt_tokens": 6}\n')
    assert read_log([path]).prompt_tokens.tolist() == [5, 6]
    path.write_text('{"prompt_tokens": 5}\n{"prompt_tokens": "six"}\n')
    with pytest.raises(ConfigurationError, match="line 2"):
        read_log([path])


def test_lines_that_killed_processes_left_are_counted(tmp_path: Path) -> None:
    """The last of each file, and a few behind which the next process went on."""
    paths = [tmp_path / name for name in ("log.1", "log")]
    paths[0].write_text('{"prompt_tokens": 5}\n' * 199 + '{"prompt_tok\n' * 2 + '{"prompt_tok')
    paths[1].write_text('{"prompt_tokens": 6}\n{"prom')
    trace = read_log(paths)
    assert (trace.requests, trace.cut) == (200, 4)


def test_a_mangled_log_is_refused(tmp_path: Path) -> None:
    """Where more lines have no end than killed processes leave, what is left of the traffic is no fair sample."""
    path = tmp_path / "log"
    whole, torn = '{"prompt_tokens": 5}\n', '{"prompt_tokens": 5\n'
    path.write_text(whole + torn * 2499 + whole * 499)
    with pytest.raises(ConfigurationError, match=r"line 2 is no trace \(no } ends it, nor 2498 more of 2999 lines"):
        read_log([path])


def test_what_does_not_begin_as_an_object_is_refused(tmp_path: Path) -> None:
    """No process of ours left it, wherever it stands."""
    path = tmp_path / "log"
    path.write_text('{"prompt_tokens": 5}\nTraceback\n{"prompt_tokens": 6}\n')
    with pytest.raises(ConfigurationError, match="line 2"):
        read_log([path])


@pytest.mark.parametrize("field", ["prompt_tokens", "completion_tokens", "max_tokens", "budget_tokens", "weight"])
@pytest.mark.parametrize("value", [-1, 2**40])
def test_impossible_numbers_name_their_line(tmp_path: Path, field: str, value: int) -> None:
    """They would otherwise be taken for what is not known, or break a sum."""
    with pytest.raises(ConfigurationError, match="line 2"):
        read(tmp_path, line(prompt_tokens=5), line(**{field: value}))


def test_a_log_in_which_nothing_was_read_is_refused(tmp_path: Path) -> None:
    """There is nothing to draw from."""
    with pytest.raises(ConfigurationError, match="no request with a prompt's length, and 2 without"):
        read(tmp_path, line(), line())
