"""Published names of the flow network inside TOFlow -> ours."""

from flowzoo.blocks.task_flow import CHANNELS, LEVELS
from flowzoo.checkpoints.keymap import Renaming


def move_task_flow(names: Renaming, theirs: str, ours: str) -> None:
    """All tensors of one flow network, from BasicSR's or mmagic's names below the prefix `theirs`."""
    mmagic = names.has(f"{theirs}.basic_module.0.basic_module.0.conv.weight")
    for level in range(LEVELS):
        for index in range(len(CHANNELS)):
            before, after = f"{theirs}.basic_module.{level}.basic_module", f"{ours}.levels.{level}"
            convolution = f"{before}.{index}.conv" if mmagic else f"{before}.{3 * index}"
            norm = f"{before}.{index}.bn" if mmagic else f"{before}.{3 * index + 1}"
            names.move(f"{convolution}.weight", f"{after}.{3 * index}.weight")
            for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                names.move(f"{norm}.{part}", f"{after}.{3 * index + 1}.{part}")
        last = f"{before}.{len(CHANNELS)}.conv" if mmagic else f"{before}.{3 * len(CHANNELS)}"
        names.move_layer(last, f"{after}.{3 * len(CHANNELS)}")
