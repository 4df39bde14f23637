"""Generated from `protos/` by `make proto`; never edited, and only the wire module imports it."""
