"""A router that has learned, as bytes that another process goes on with; it learns the same once, not twice.

Only what the simulator built itself is packed: its key is known here. The service keeps its state otherwise
(`extproc.routing.state`), without conversations.
"""

import copyreg
import functools
import hashlib
import io
import pickle
from collections.abc import Callable
from typing import Any

from extproc.fleet.dispatch import MEMORY_KEY, Routed

_Hasher = type(hashlib.blake2b())


def _hasher(found: Any) -> tuple[Callable[[], Any], tuple[()]]:
    """One that has taken in nothing but its key, as conversation memory keeps it."""
    return functools.partial(hashlib.blake2b, key=MEMORY_KEY, digest_size=found.digest_size), ()


def packed(routed: Routed) -> bytes:
    """It stays as it is."""
    found = io.BytesIO()
    packer = pickle.Pickler(found, pickle.HIGHEST_PROTOCOL)
    packer.dispatch_table = {**copyreg.dispatch_table, _Hasher: _hasher}
    packer.dump(routed)
    return found.getvalue()


def unpacked(content: bytes) -> Routed:
    """Another one each time; decides and learns as the one that was packed would."""
    found = pickle.loads(content)  # noqa: S301 - what `packed` made, in this run
    assert isinstance(found, Routed)
    return found
