"""The parts of `napari_tam.report`: data, numbers, cautions, quality of fields, figures, the page."""
