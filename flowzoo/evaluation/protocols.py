"""The protocol that scores a data set."""

from flowzoo.datasets.catalogue import dataset_class
from flowzoo.errors import InputError
from flowzoo.metrics.protocol import Dense, Protocol
from flowzoo.registry import resolve


def protocol_for(dataset: str, *, mask_invalid: bool = False) -> Protocol:
    """The official protocol of a data set.

    Raises:
        InputError: `mask_invalid` for a data set without invalid masks.
    """
    facts = dataset_class(dataset)
    kind: type[Protocol] = resolve(f"flowzoo.metrics.{facts.protocol}")
    if mask_invalid and not facts.invalid_mask:
        raise InputError(f"--mask-invalid: {facts.title} has no masks of invalid pixels; drop it")
    if facts.invalid_mask:
        return kind(mask_invalid)  # type: ignore[call-arg]
    return Dense(facts.per_image) if kind is Dense else kind()
