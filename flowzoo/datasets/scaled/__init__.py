"""Data sets of clips at two sizes, one a file: small frames, and the large ones that they should become."""
