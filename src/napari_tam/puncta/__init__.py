"""puncta."""
