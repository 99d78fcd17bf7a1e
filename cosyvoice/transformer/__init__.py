"""Package transformer."""
