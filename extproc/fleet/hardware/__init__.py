"""GPUs and models: what fits into an instance's memory and how long its steps take; knows no traffic and no routing.

`catalog` finds a GPU and a model, `memory` says how many KV blocks remain, `steptime` how long a step takes, and
`instances` puts them together as an `InstanceSpec` with vLLM's own defaults. `profile` replaces what the catalogue
assumes by what was measured.
"""
