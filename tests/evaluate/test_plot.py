from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from extproc.errors import ConfigurationError
from extproc.evaluate.evaluation import evaluate
from extproc.evaluate.options import EvaluateOptions
from extproc.evaluate.plot import check, draw, plot

Asked = Callable[..., EvaluateOptions]


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_a_picture_is_written(suffix: str, start: bytes, asked: Asked, tmp_path: Path) -> None:
    """In the format that its name asks for."""
    options, path = asked(), tmp_path / f"picture{suffix}"
    plot(evaluate(options, lambda: None), options, path)
    assert path.read_bytes().startswith(start)


def test_the_panels_show_the_figures(asked: Asked) -> None:
    """Bars and lines have the heights of the shares, in percent, and the promise is drawn."""
    options = asked()
    found = evaluate(options, lambda: None)
    misroutes, errors, over_time = draw(found, options).axes
    reports = list(found.estimators.values())
    unders = [100 * (report.figures.shares.under or 0.0) for report in reports]
    overs = [100 * (report.figures.shares.over or 0.0) for report in reports]
    heights = [bar.get_height() for bar in misroutes.patches if isinstance(bar, Rectangle)]
    assert heights == pytest.approx(unders + overs)
    assert [line.get_label() for line in errors.lines] == ["fixed", "ema"]
    assert np.asarray(errors.lines[0].get_xdata())[0] == pytest.approx(100 * reports[0].figures.error_quantiles[0])
    assert np.asarray(over_time.lines[0].get_ydata())[-1] == pytest.approx(unders[0], abs=1e-9)
    assert list(np.asarray(over_time.lines[-1].get_ydata())) == pytest.approx([0.1, 0.1])


def test_what_could_not_be_judged_is_not_drawn(asked: Asked, requests_file: Path, tmp_path: Path) -> None:
    """No bar, no line, and an ending in capitals is one too."""
    requests_file.write_text(requests_file.read_text().replace("max_tokens", "least_tokens"))
    options, path = asked(), tmp_path / "picture.PNG"
    check(path, options)
    found = evaluate(options, lambda: None)
    plot(found, options, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    misroutes, _, over_time = draw(found, options).axes
    assert all(np.isnan(bar.get_height()) for bar in misroutes.patches if isinstance(bar, Rectangle))
    assert np.isnan(np.asarray(over_time.lines[0].get_ydata(), float)).all()


@pytest.mark.parametrize(("name", "complaint"), [("a.gif", "must end in"), ("no/folder/a.png", "no such folder")])
def test_a_name_that_will_not_do_is_refused_first(name: str, complaint: str, asked: Asked, tmp_path: Path) -> None:
    """Before anything is run."""
    with pytest.raises(ConfigurationError, match=complaint):
        check(tmp_path / name, asked())


def test_sessions_are_not_drawn(sessions_file: Path, tmp_path: Path) -> None:
    """There is nothing to draw without requests."""
    with pytest.raises(ConfigurationError, match="needs --requests"):
        check(tmp_path / "a.png", EvaluateOptions(sessions=sessions_file))


def test_a_file_that_cannot_be_written_is_named(asked: Asked, tmp_path: Path) -> None:
    """A folder in its place, for example."""
    options, path = asked(), tmp_path / "a.png"
    path.mkdir()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        plot(evaluate(options, lambda: None), options, path)
