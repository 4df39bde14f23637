"""What the router costs: Envoy alone, the floor for any Python processor, and us, side by side in one run."""
