"""Writing a program as torch.export's .pt2 file, and running such a file."""

import json
import warnings
from pathlib import Path

import torch
from torch import Tensor
from torch._export.serde.serialize import SerializeError
from torch.export import ExportedProgram

from flowzoo.errors import InputError
from flowzoo.export.program import reason_of

FACTS = "flowzoo.json"
"""Name of the file's own description, one of its extra files."""


def save(program: ExportedProgram, path: Path, facts: dict[str, str]) -> None:
    """Write `program` with its `facts`.

    Raises:
        InputError: the format has no form of a part of the program.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(program, path, extra_files={FACTS: json.dumps(facts, sort_keys=True)})
    except (SerializeError, AssertionError) as error:
        raise InputError(f"cannot be held by a .pt2 file: {reason_of(error)}") from error


def run(path: Path, first: Tensor, second: Tensor) -> Tensor:
    """The flow that the file gives.

    Raises:
        InputError: it needs operators that only flowzoo has, or does not take the images.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.load(path)
    ours = {str(node.target) for node in program.graph.nodes if str(node.target).startswith("flowzoo.")}
    if ours:
        raise InputError(f"it would need flowzoo to run: {', '.join(sorted(ours))}")
    try:
        flow: Tensor = program.module()(first, second)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"torch does not run it: {reason_of(error)}") from error
    return flow
