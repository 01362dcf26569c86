"""The parts of `napari_tam.simulate.scene.Scene`: outlines, stains, puncta, optics."""
