"""What the plugin's tabs hold: channels, settings, plot, corrections, teaching, training."""
