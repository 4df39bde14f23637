"""Counts tokens exactly, with a file the operator names; knows the `tokenizers` library, nothing of pools."""
