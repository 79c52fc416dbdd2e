"""`flowzoo demo`: a page on this machine for a pair of images."""

import argparse

from flowzoo.cli.common import add_model_arguments
from flowzoo.errors import InputError

HELP = "A page on this machine: drop two images or a clip on it, and look at their flow. Ctrl-C ends it."

EXAMPLES = """examples:
  flowzoo demo                                  then open the address that it prints
  flowzoo demo --port 0 --open                  on any free port, and open the browser
  flowzoo demo --model pwcnet --weights pwcnet.safetensors --device cuda

The page offers this network and those whose weights ship or are in the cache (`flowzoo weights get TAG`). It is served
to this machine alone, by Python's own server; nothing that it is given is stored or sent anywhere."""

PORT = 8765


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.epilog = EXAMPLES
    parser.add_argument("--port", type=int, default=PORT, metavar="N", help=f"0 is any free one (default: {PORT})")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument(
        "--largest", type=float, default=100, metavar="MB", help="most that one request may hold (default: 100)"
    )
    parser.add_argument("--memory", type=float, metavar="GB", help="bound for activations, as for infer (default: 4)")
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Serve until Ctrl-C.

    Raises:
        InputError: the port is taken, or the model options are wrong.
    """
    if not 0 <= arguments.port < 65536:
        raise InputError(f"--port is a number from 0 to 65535, got {arguments.port}")
    if not 0 < arguments.largest <= 4000:
        raise InputError(f"--largest is above 0 and at most 4000 megabytes, got {arguments.largest:g}")
    if arguments.memory is not None and not arguments.memory > 0:
        raise InputError(f"--memory must be above 0 gigabytes, got {arguments.memory:g}")
    if arguments.set or arguments.entry:
        raise InputError("the page takes networks as they are: for --set and --entry use `flowzoo weights import`")
    from flowzoo.cli.common import choose
    from flowzoo.demo.job import Worker
    from flowzoo.demo.options import choices
    from flowzoo.demo.server import DemoServer, Settings
    from flowzoo.devices import pick_device, pick_precision
    from flowzoo.operators.native import build_for_next_time

    device = pick_device(arguments.device)
    pick_precision(arguments.precision, device)
    build_for_next_time()
    offered = choices(choose(arguments.model, arguments.weights))
    first = arguments.precision
    precisions = ("float32", "bfloat16") if device.type == "cpu" else ("float32", "bfloat16", "float16")
    settings = Settings(
        tuple(offered), (first, *(name for name in precisions if name != first)), int(arguments.largest * 1e6)
    )
    worker = Worker(device, arguments.memory)
    worker.estimator(offered[0], first)
    try:
        server = DemoServer(("127.0.0.1", arguments.port), worker, settings)
    except OSError as error:
        raise InputError(
            f"port {arguments.port} cannot be had ({error.strerror}): give another --port, or 0"
        ) from error
    with server:
        print(f"open {server.url} in a browser; Ctrl-C ends this", flush=True)
        if arguments.open:
            import webbrowser

            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nended")
