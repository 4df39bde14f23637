"""Dual-pool token-budget routing for vLLM behind Envoy."""
