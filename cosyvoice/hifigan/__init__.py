"""Package hifigan."""
