"""Package components."""
