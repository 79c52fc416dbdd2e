"""`flowzoo demo`: a page on this machine that shows the flow of two images that are dropped on it."""
