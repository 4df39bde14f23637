"""Envoy's configuration as typed objects, and as YAML that says why; needs the extra `dualpool[envoy]`."""
