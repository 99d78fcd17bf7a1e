"""Package glm4voice."""
