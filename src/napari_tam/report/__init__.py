"""The parts of `napari_tam.report.build`: data, numbers, cautions, quality of fields, figures, the page."""
