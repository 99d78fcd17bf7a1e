"""Package cosyvoice."""
