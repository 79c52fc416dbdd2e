"""The zoo's cards: which networks exist, with which settings. One file a family; nothing here imports torch.

A card file defines `CARDS: tuple[Card, ...]`; the registry finds every file of this folder.
"""
