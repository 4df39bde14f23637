"""What the service did, counted: outcomes of the core → OpenTelemetry instruments; never imported by routing."""
