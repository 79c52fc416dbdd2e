"""What solves the linear systems of variational flow: some sweeps of red-black SOR."""

from flowzoo.operators import relaxation as relax

__all__ = ["relax"]
