"""Runs networks, or flow files, over data sets by the official protocols."""
