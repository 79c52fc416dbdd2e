"""Which flow vectors are known. One rule for every file format and for pictures."""

import numpy as np

UNKNOWN_LIMIT = 1e9
"""Flow components beyond this many pixels mean "unknown" (Middlebury's flow code, `UNKNOWN_FLOW_THRESH`)."""


def known_pixels(flow: np.ndarray) -> np.ndarray:
    """HxW bool of a flow HxWx2: True where both components are finite and at most 1e9 pixels."""
    # A comparison with NaN is False, so this one covers NaN and infinity too.
    known = np.abs(flow) <= UNKNOWN_LIMIT
    both: np.ndarray = known[..., 0] & known[..., 1]
    return both


def without_unknown(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(flow with zeros where it is unknown, HxW bool of known pixels); changes `flow` (HxWx2, writable) in place."""
    valid = known_pixels(flow)
    if not valid.all():
        flow[~valid] = 0
    return flow, valid
