"""The least that a file must say of a GPU or a model, with units, for whoever has to write one. Knows no card."""

from extproc.fleet.hardware.entries import Gpu, Model

_GPU = """\
  name: my-card
  memory_gb: 96            # as on the box; memory_gib for what the driver reports
  bandwidth_gb_s: 1792     # gigabytes a second
  bf16_tflops: 503.8       # dense
  fp8_tflops: 1007.6       # dense; leave it out where there is none
  interconnect: PCIe Gen5  # or NVLink, or host; nvlink_gb_s in one direction"""
_MODEL = """\
  name: my-model
  layers: 48
  hidden: 2048
  heads: 32
  kv_heads: 4
  head_dim: 128
  intermediate: 6144       # of a plain MLP, or
  # experts: {count: 128, active: 8, intermediate: 768}
  vocab: 151936
  dtype: bf16              # or fp8, w8a16, int4, mxfp4, nvfp4
(a config.json does as it is; docs/hardware.md has every key)"""


def template(entry: type[Gpu | Model]) -> str:
    """Lines of YAML, indented."""
    return _GPU if entry is Gpu else _MODEL
