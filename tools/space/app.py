"""The page of `flowzoo demo` as a public one, for a Hugging Face Space with Docker: python app.py

A Space gives its address in SPACE_HOST; requests for other hosts, and from other pages, are refused. Files are small
here, since many share one machine.
"""

import os

import torch

from flowzoo.demo.job import Worker
from flowzoo.demo.options import choices
from flowzoo.demo.server import DemoServer, Settings

PORT = 7860
"""Where Spaces expect it."""
LARGEST = 20_000_000
"""Bytes of one request."""


def make_server(port: int = PORT) -> DemoServer:
    """The server, listening."""
    host = os.environ.get("SPACE_HOST", "")
    settings = Settings(tuple(choices(("wren", "wren"))), largest=LARGEST, hosts=(host,) if host else ())
    return DemoServer(("0.0.0.0", port), Worker(torch.device("cpu")), settings)


if __name__ == "__main__":
    with make_server() as server:
        print(f"serving on port {server.server_port}", flush=True)
        server.serve_forever()
