"""Networks that make frames from frames, one family a file."""
