"""The planner: what two pools would save on an operator's traffic, by a closed form and a simulation of the fleet.

Drives the very routing core that the service runs. Knows GPUs, vLLM's scheduler and traces; nothing of Envoy or HTTP.
Everything random comes from a seed: the same inputs and the same seed give the same figures.
"""
