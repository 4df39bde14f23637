"""A stand-in for a vLLM server: its wire behaviour by release, real token counts, believable timing, faults on request.

`app` composes the parts: `edge` is what every request passes, `generation` serves one in the dialect of its route
(`chat`, `completions`, `responses`, `messages`), `service` admits it, `driver` steps the `engine`, `outlet` writes the
answer, broken in whatever way a fault asks for.
"""
