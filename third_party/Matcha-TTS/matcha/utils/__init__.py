"""Package utils."""
