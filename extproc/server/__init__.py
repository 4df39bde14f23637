"""The edge: Envoy's gRPC conversation, health and draining. The core decides; this package carries."""
