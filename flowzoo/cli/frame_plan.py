"""What the verbs that make frames from frames write, compared with what they read before anything is computed."""

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowzoo.inference.frame_outputs import FrameOutputs
    from flowzoo.inference.sequences import FrameSequence


def stated_outputs(
    arguments: argparse.Namespace, sequence: "FrameSequence", default: str, names: Iterable[str]
) -> "FrameOutputs":
    """Where the frames go.

    Args:
        arguments: with `output`, `format` and `weights`.
        sequence: what is read.
        default: folder where `output` says nothing.
        names: of the frames that will be written.

    Raises:
        InputError: wrong options, or outputs that would replace inputs.
    """
    from flowzoo.files.run_files import RunFiles
    from flowzoo.inference.frame_outputs import choose_frame_outputs

    outputs = choose_frame_outputs(arguments.output, arguments.format, default)
    files = RunFiles()
    files.reads(*sequence.inputs, arguments.weights)
    outputs.state(files, names)
    files.check()
    return outputs
