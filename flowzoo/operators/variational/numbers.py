"""The numbers of a variational step, in the order in which its operator and its kernels take them."""

from typing import NamedTuple


class StepNumbers(NamedTuple):
    """Attributes:
    normaliser, mismatch, least: see `variational_data`.
    alpha, delta, gamma, epsilon: see `variational_system`.
    sweeps, factor: see `relaxation`.
    largest: pixels; either component of the flow changes by at most this.
    """

    normaliser: float
    mismatch: float
    least: float
    alpha: float
    delta: float
    gamma: float
    epsilon: float
    sweeps: int
    factor: float
    largest: float

    def parts(
        self,
    ) -> tuple[tuple[float, float, float], tuple[float, float, float, float], tuple[int, float, float]]:
        """Those of the data, of the system, and of the solver with `largest`."""
        data = self.normaliser, self.mismatch, self.least
        return data, (self.alpha, self.delta, self.gamma, self.epsilon), (self.sweeps, self.factor, self.largest)
