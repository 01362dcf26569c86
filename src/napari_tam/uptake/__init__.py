"""uptake."""
