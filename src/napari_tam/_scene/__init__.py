"""The parts of `napari_tam.synthetic.Scene`: outlines, stains, puncta, optics."""
