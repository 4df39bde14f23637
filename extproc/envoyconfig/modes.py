"""What Envoy sends to the service: as configured, and the overrides the service may ask for in a header response.

Envoy honours an override only if every field but `request_header_mode` has the same enum number as in an entry of
`allowed_override_modes`. It does not treat DEFAULT as the SEND or SKIP it stands for: a server must send these
messages exactly, and one that differs is ignored without an error.
"""

from typing import Final

from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ProcessingMode,
    ProcessingModeBodySendMode,
    ProcessingModeHeaderSendMode,
)

SEND: Final = ProcessingModeHeaderSendMode.SEND
SKIP: Final = ProcessingModeHeaderSendMode.SKIP
NONE: Final = ProcessingModeBodySendMode.NONE
STREAMED: Final = ProcessingModeBodySendMode.STREAMED
BUFFERED_PARTIAL: Final = ProcessingModeBodySendMode.BUFFERED_PARTIAL

CONFIGURED: Final = ProcessingMode(
    request_header_mode=SEND,
    response_header_mode=SEND,
    request_body_mode=NONE,
    response_body_mode=NONE,
    request_trailer_mode=SKIP,
    response_trailer_mode=SKIP,
)

WANT_REQUEST_BODY: Final = ProcessingMode(response_header_mode=SEND, request_body_mode=BUFFERED_PARTIAL)
"""The answer to request headers whose body decides."""

WANT_JSON_BODY: Final = ProcessingMode(response_header_mode=SEND, response_body_mode=BUFFERED_PARTIAL)
"""The answer to the headers of an observed JSON response: its usage may stand anywhere in it."""

WANT_SSE_BODY: Final = ProcessingMode(response_header_mode=SEND, response_body_mode=STREAMED)
"""The answer to the headers of an observed event stream: each chunk goes on as soon as it is answered."""

ALLOWED_OVERRIDES: Final = (WANT_REQUEST_BODY, WANT_JSON_BODY, WANT_SSE_BODY)
