from dataclasses import fields

import pytest
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ProcessingMode

from extproc.envoyconfig.modes import ALLOWED_OVERRIDES, CONFIGURED


@pytest.mark.parametrize("mode", [CONFIGURED, *ALLOWED_OVERRIDES], ids=repr)
def test_no_header_or_trailer_mode_is_left_to_a_default(mode: ProcessingMode) -> None:
    """DEFAULT means different things to different Envoys, so none of our modes has one."""
    named = [field.name for field in fields(mode) if not field.name.endswith("body_mode")]
    assert len(named) == 4
    assert all(getattr(mode, name).name in {"SEND", "SKIP"} for name in named)


@pytest.mark.parametrize("mode", ALLOWED_OVERRIDES, ids=repr)
def test_an_override_asks_for_one_body_and_changes_nothing_else(mode: ProcessingMode) -> None:
    """What the service may ask for beyond the configured mode is one body, and never the mode that can answer 413."""
    changed = {
        f.name: getattr(mode, f.name).name for f in fields(mode) if getattr(mode, f.name) != getattr(CONFIGURED, f.name)
    }
    (name,) = changed
    assert name in {"request_body_mode", "response_body_mode"}
    assert changed[name] in {"BUFFERED_PARTIAL", "STREAMED"}
