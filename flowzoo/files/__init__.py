"""Readers and writers of flow, images and video."""
