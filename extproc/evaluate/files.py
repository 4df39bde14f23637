"""How evaluation reads text files: as traces are read."""

from extproc.traces.files import read_lines

__all__ = ["read_lines"]
