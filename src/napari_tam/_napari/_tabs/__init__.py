"""_tabs."""
