"""Cells and nuclei that somebody segmented elsewhere: label images, outlines, Cellpose's own files."""
