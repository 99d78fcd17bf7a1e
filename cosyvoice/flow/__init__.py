"""Package flow."""
