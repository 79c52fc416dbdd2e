"""What a stage of the alignment experiment says. No torch import."""

from dataclasses import dataclass

from flowzoo.errors import InputError


@dataclass(frozen=True)
class AlignmentSettings:
    """Pairs and loss of the experiment.

    Attributes:
        pool: how many pairs there are; they come again and again in another order.
        size: side of a frame, pixels.
        motion: largest component of a translation, pixels.
        test_pairs: pairs that are tested on, from photographs that no training pair shows.
        fidelity_weight: of the offset-fidelity loss against the true flow, lambda in equation 4; 0 = without.
        fidelity_threshold: t in equation 5, pixels.
    """

    pool: int = 2400
    size: int = 24
    motion: float = 2.0
    test_pairs: int = 160
    fidelity_weight: float = 0.0
    fidelity_threshold: float = 2.0

    def __post_init__(self) -> None:
        if min(self.pool, self.test_pairs) < 1 or self.size < 8:
            raise InputError("settings 'pool' and 'test_pairs' must be at least 1, 'size' at least 8")
        for name in ("motion", "fidelity_weight", "fidelity_threshold"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"setting {name!r} must be a number, 0 or more, not {getattr(self, name)}")
