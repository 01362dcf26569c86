"""What napari asks the plugin for: sample images, a reader and a writer of results folders."""
