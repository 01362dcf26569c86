"""Puncta that the user marks, and the threshold that follows from them."""
