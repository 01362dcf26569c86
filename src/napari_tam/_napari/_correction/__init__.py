"""Correcting by hand in the viewer: actions, their keys, the pen, undo, and what is not saved yet."""
