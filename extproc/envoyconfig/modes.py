"""What Envoy sends to the service: as configured, and the overrides the service may ask for in a header response.

Envoy honours an override only if it equals an entry of `allowed_override_modes` in every field but
`request_header_mode`, and ignores any other without an error. Versions differ in whether a DEFAULT in an override means
the configured mode (1.40 does so) or only itself, and none reads DEFAULT so in the list. Hence no DEFAULT anywhere: an
override is the configured mode with one body asked for, and a server must send exactly these messages.
"""

from dataclasses import replace
from typing import Final

from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ProcessingMode,
    ProcessingModeBodySendMode,
    ProcessingModeHeaderSendMode,
)

CONFIGURED: Final = ProcessingMode(
    request_header_mode=ProcessingModeHeaderSendMode.SEND,
    response_header_mode=ProcessingModeHeaderSendMode.SEND,
    request_body_mode=ProcessingModeBodySendMode.NONE,
    response_body_mode=ProcessingModeBodySendMode.NONE,
    request_trailer_mode=ProcessingModeHeaderSendMode.SKIP,
    response_trailer_mode=ProcessingModeHeaderSendMode.SKIP,
)

WANT_REQUEST_BODY: Final = replace(CONFIGURED, request_body_mode=ProcessingModeBodySendMode.BUFFERED_PARTIAL)
"""The answer to request headers whose body decides."""

WANT_JSON_BODY: Final = replace(CONFIGURED, response_body_mode=ProcessingModeBodySendMode.BUFFERED_PARTIAL)
"""The answer to the headers of an observed JSON response: its usage may stand anywhere in it."""

WANT_SSE_BODY: Final = replace(CONFIGURED, response_body_mode=ProcessingModeBodySendMode.STREAMED)
"""The answer to the headers of an observed event stream: each chunk goes on as soon as it is answered."""

ALLOWED_OVERRIDES: Final = (WANT_REQUEST_BODY, WANT_JSON_BODY, WANT_SSE_BODY)
