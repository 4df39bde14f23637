from extproc.evaluate import files
from extproc.traces.files import read_lines


def test_files_are_read_as_traces_are() -> None:
    """There is one reader of text files; what it does is shown beside it."""
    assert files.read_lines is read_lines
