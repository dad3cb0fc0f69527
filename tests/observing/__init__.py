"""What OpenTelemetry and Prometheus are told."""
