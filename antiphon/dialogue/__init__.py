"""Package dialogue."""
