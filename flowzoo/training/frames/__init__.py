"""Training of networks that predict frames or make frames in between."""
