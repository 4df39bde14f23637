"""Recorded traffic as columns: the public traces' formats, our own access log, published distributions of lengths.

Knows files and their formats; neither requests as text nor what anybody does with the columns.
"""

from extproc.traces.cdf import LengthCdf
from extproc.traces.columns import Trace
from extproc.traces.reading import FORMATS, read_log, read_trace

__all__ = ["FORMATS", "LengthCdf", "Trace", "read_log", "read_trace"]
