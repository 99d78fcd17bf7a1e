"""Package matcha."""
