"""Times networks side by side: a process each, taking turns, so that both see the same machine."""

import multiprocessing
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch

from flowzoo.errors import InputError
from flowzoo.timing.clock import Timing, peak_memory


@dataclass(frozen=True)
class NetworkTask:
    """A network with random weights and the input it is timed on."""

    model: str
    height: int
    width: int
    batch: int = 1
    device: str = "auto"
    precision: str = "float32"
    threads: int | None = None
    settings: tuple[str, ...] = ()

    def prepare(self) -> tuple[Callable[[], object], torch.device]:
        """Build the network; returns a call that runs it once, and its device.

        Raises:
            InputError: a wrong name, setting or device.
        """
        from flowzoo.creation import create_flow_network
        from flowzoo.devices import pick_device, pick_precision
        from flowzoo.inference.estimator import Estimator
        from flowzoo.settings import parse_settings

        if self.threads:
            torch.set_num_threads(self.threads)
        device = pick_device(self.device)
        network = create_flow_network(self.model, None, **parse_settings(list(self.settings))).to(device)
        estimator = Estimator(network, pick_precision(self.precision, device))
        generator = torch.Generator().manual_seed(0)
        shape = (2, self.batch, 3, self.height, self.width)
        first, second = torch.rand(shape, generator=generator).to(device)
        return lambda: estimator.predict(first, second), device


def time_networks(tasks: list[NetworkTask], repeat: int) -> list[Timing]:
    """Timings of `tasks`, in order; every round runs each of them once.

    Raises:
        InputError: a task cannot be prepared.
    """
    context = multiprocessing.get_context("spawn")
    workers = []
    try:
        for task in tasks:
            ours, theirs = context.Pipe()
            worker = context.Process(target=_work, args=(task, theirs), daemon=True)
            worker.start()
            theirs.close()
            workers.append((worker, ours))
            _answer(ours)
        memory = [_ask(pipe, "memory") for _, pipe in workers]
        seconds: list[list[float]] = [[] for _ in tasks]
        for _ in range(repeat):
            for index, (_, pipe) in enumerate(workers):
                seconds[index].append(_ask(pipe, "time"))
    finally:
        for worker, pipe in workers:
            pipe.close()
            worker.join(5)
            worker.kill()
    return [
        Timing(min(entry), statistics.median(entry), max(entry), held)
        for entry, held in zip(seconds, memory, strict=True)
    ]


def _ask(pipe: Connection, question: str):  # type: ignore[no-untyped-def]
    pipe.send(question)
    return _answer(pipe)


def _answer(pipe: Connection):  # type: ignore[no-untyped-def]
    try:
        kind, value = pipe.recv()
    except EOFError:
        raise InputError("the timed process ended early: probably too little memory; try a smaller --size") from None
    if kind == "error":
        raise InputError(value)
    return value


def _work(task: NetworkTask, pipe: Connection) -> None:
    """The timed process: answers "memory" and "time" until the pipe closes."""
    from flowzoo.freed_memory import keep_freed_memory
    from flowzoo.timing.clock import measure

    keep_freed_memory()  # as the commands that run networks
    try:
        call, device = task.prepare()
    except InputError as error:
        pipe.send(("error", str(error)))
        return
    pipe.send(("ready", None))
    try:
        while True:
            if pipe.recv() == "memory":
                pipe.send(("memory", peak_memory(call, device)))
            else:
                pipe.send(("time", measure(call, 1, device, warm_up=False).best))
    except (EOFError, KeyboardInterrupt):
        return
