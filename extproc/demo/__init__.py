"""The product at work on one machine: Envoy, the service and two mock pools, with requests driven through them."""
