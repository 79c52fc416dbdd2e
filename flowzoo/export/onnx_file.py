"""Writing a program as one ONNX file, and running such a file."""

import contextlib
import importlib.util
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from flowzoo.errors import InputError
from flowzoo.export.program import reason_of

OPSET = 18
NEEDED = ("onnx", "onnxscript", "onnxruntime")
AXES = ("batch", "height", "width")
"""Names of the free axes 0, 2 and 3."""


def require_libraries() -> None:
    """Refuse early where the extra is not installed.

    Raises:
        InputError: naming the extra.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"writing .onnx needs {', '.join(missing)}: pip install 'flowzoo[export]', or write .pt2")


def save(program: ExportedProgram, path: Path, facts: dict[str, str], dynamic: bool) -> None:
    """Write `program` with its `facts` as the model's metadata.

    Raises:
        InputError: the format has no form of one of the program's operators.
    """
    names: dict[str, Any] = {"input_names": ["first", "second"], "output_names": ["flow"]}
    try:
        with _quietly():
            written = torch.onnx.export(program, (), dynamo=True, opset_version=OPSET, verbose=False, **names)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"cannot be expressed in ONNX: {reason_of(error)}") from error
    if written is None:
        raise InputError("cannot be expressed in ONNX: the exporter gave no model")
    model = written.model
    model.producer_name, model.producer_version = "flowzoo", facts.get("flowzoo", "")
    model.metadata_props.update(facts)
    if dynamic:
        for value in (*model.graph.inputs, *model.graph.outputs):
            for axis, name in zip((0, 2, 3), AXES, strict=True):
                value.shape[axis] = name  # type: ignore[index]
    with _quietly():
        written.save(path, external_data=False)


def run(path: Path, first: Tensor, second: Tensor) -> Tensor:
    """The flow that the file gives, by onnxruntime on the CPU.

    Raises:
        InputError: the runtime does not take the file or the images.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    failures = (
        states.Fail,
        states.InvalidArgument,
        states.InvalidGraph,
        states.NotImplemented,
        states.RuntimeException,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (flow,) = session.run(["flow"], {"first": first.numpy(), "second": second.numpy()})
    except (*failures, RuntimeError) as error:
        raise InputError(f"onnxruntime does not run it: {reason_of(error)}") from error
    return torch.from_numpy(flow)


@contextlib.contextmanager
def _quietly() -> Any:
    """Without the exporter's notes on its own doings."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
