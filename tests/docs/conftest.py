"""A server for the weights that the documentation downloads."""

import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from doc_inputs import make_weights

from flowzoo.checkpoints import index


@pytest.fixture
def local_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every tag's address is on this machine, where a file of the right shape waits; the cache is empty."""
    folder = tmp_path / "published"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=str(folder))

        def do_GET(self) -> None:
            entry = index.entries()[Path(self.path).stem]
            make_weights(folder / f"{entry.tag}.pth", entry.model, **entry.settings)
            super().do_GET()

        def log_message(self, *_: object) -> None:
            """Nothing: the test's output is no place for it."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for tag, entry in list(index.entries().items()):
            if entry.url:
                url = f"http://127.0.0.1:{server.server_port}/{tag}.pth"
                here = replace(entry, url=url, sha256=index.UNKNOWN, sha256_prefix="", bytes=0)
                monkeypatch.setitem(index.entries(), tag, here)
        monkeypatch.setenv("FLOWZOO_CACHE", str(tmp_path / "cache"))
        yield
        server.shutdown()
