"""Published names of PWC-Net-GOCor -> ours: PWC-Net's own, and one GOCor module a level.

Known: the files of GOCor and DenseMatching (`PWCNet_GOCor_*`). A file of plain PWC-Net is taken, too: the modules then
keep the values they start training from.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from flowzoo.checkpoints import pwcnet
from flowzoo.checkpoints.gocor import move_gocor, starting_values
from flowzoo.checkpoints.keymap import Renaming
from flowzoo.models.pwcnet import COARSEST, FINEST

if TYPE_CHECKING:
    from flowzoo.zoo.pwcnet import PWCNetSettings

_MODULE = "local_corr_"


def convert(state: Mapping[str, Tensor], settings: "PWCNetSettings") -> dict[str, Tensor]:
    """A published state dict as ours.

    Raises:
        InputError: its names are unknown, or do not match these settings.
    """
    if any(name.startswith("features.stages.") for name in state):
        return dict(state)
    rest = {name: values for name, values in state.items() if not name.startswith(_MODULE)}
    result = pwcnet.convert(rest, settings)
    modules = Renaming({n: v for n, v in state.items() if n.startswith(_MODULE)}, "GOCor")
    for level in range(COARSEST, FINEST - 1, -1):
        ours = f"levels.{level}.cost_volume.matcher"
        if len(rest) == len(state):
            result.update(starting_values(ours))
        else:
            move_gocor(modules, f"{_MODULE}{level}", ours, "simple", query_loss=False)
    return result | modules.finish()
