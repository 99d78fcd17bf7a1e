"""Package evaluation."""
