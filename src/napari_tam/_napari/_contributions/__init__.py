"""_contributions."""
