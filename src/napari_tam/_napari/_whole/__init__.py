"""Whole z-stacks, movies and large images: analysed with the command line's own steps, shown as layers."""
