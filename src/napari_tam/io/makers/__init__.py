"""What makers' software writes beside the images: pixel size, channel names, z step, time, wells."""
