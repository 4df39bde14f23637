"""Judges estimators beforehand: replays requests whose true prompt tokens are known through the very core.

Knows the files such requests and traces come in; decides nothing about a request. What a run does is a function of its
options and its seed, but for the processor time it took.
"""
