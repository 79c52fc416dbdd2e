"""Parts of pyramid networks: features, alignment, cost volumes, decoders, regularisers, resizing.

A part knows tensors and its own settings, never a network.
"""
