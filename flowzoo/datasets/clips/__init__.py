"""Data sets of clips: frames in order, for prediction and interpolation. One a file; found by looking."""
