"""Package realtime."""
