"""Files of weights, whatever format they are in: found by their content, never by their suffix."""

from flowzoo.checkpoints.formats.checkpoint import Checkpoint
from flowzoo.checkpoints.formats.reading import read_checkpoint

__all__ = ["Checkpoint", "read_checkpoint"]
