"""The core: decides where a request goes and learns from its answer, without any input or output of its own.

    request bytes ─ request.read_request ─▶ RequestFacts ─ Router.route ─▶ Decision
    response bytes ─ UsageReader ─▶ Usage ─ Router.complete(decision, usage) ─▶ Correction

Sans-IO: no network, clock, randomness, logging or metrics; values come out, and time and randomness come in as
arguments. Whoever drives it, a servicer or a test, drives the same objects.
"""
