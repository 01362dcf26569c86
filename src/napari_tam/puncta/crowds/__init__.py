"""Puncta that share a spot: how many there are, where, and how much light is whose."""
