"""Runs `flowzoo` and `python` commands in processes of their own without importing torch for each of them.

A server has everything imported and forks for every command. Small programs named `flowzoo` and `python` hand it their
arguments, folder, environment, limits and open files, and wait for the exit status; to a shell script they look like
the real ones. Start it with `serving(folder)`, and put `folder` first on PATH.
"""

import array
import contextlib
import io
import marshal
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HANGS_AFTER = 150
"""Seconds after which a command shows where each of its threads is, and ends."""
CLIENT = """#!{python} -ISE
import array, marshal, os, resource, socket, sys
request = ({kind!r}, sys.argv[1:], os.getcwd(), dict(os.environ), resource.getrlimit(resource.RLIMIT_AS))
server = socket.socket(socket.AF_UNIX)
server.connect({socket!r})
body = marshal.dumps(request)
server.sendmsg([len(body).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
server.sendall(body)
answer = server.recv(8)
sys.exit(int.from_bytes(answer, "big") if answer else 1)
"""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[None]:
    """Make the programs in `folder` and serve them until the block ends."""
    address = str(folder / "socket")
    for name in ("flowzoo", "python", "python3"):
        program = folder / name
        kind = "flowzoo" if name == "flowzoo" else "python"
        program.write_text(CLIENT.format(python=sys.executable, kind=kind, socket=address))
        program.chmod(0o755)
    server = subprocess.Popen([sys.executable, __file__, address], env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        while not os.path.exists(address):
            if server.poll() is not None:
                raise RuntimeError("the command server did not start")
            time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait()


def serve(address: str) -> None:
    """Fork for every command that arrives."""
    _import_what_commands_need()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen(16)
    os.rename(f"{address}.new", address)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _attend(connection)
        connection.close()


def _import_what_commands_need() -> None:
    import av  # noqa: F401
    import torch

    import flowzoo.cli.parser
    import flowzoo.creation
    import flowzoo.evaluation.run
    import flowzoo.inference.run
    import flowzoo.models.wren
    import flowzoo.training.loop
    import flowzoo.training.tasks  # noqa: F401

    torch.set_num_threads(1)


def _attend(connection: socket.socket) -> None:
    """Run one command in a child, and end it where its client has gone (a `timeout`, for example)."""
    size, ancillary, *_ = connection.recvmsg(8, socket.CMSG_SPACE(12))
    files = array.array("i")
    files.frombytes(ancillary[0][2][:12])
    body = b""
    while len(body) < int.from_bytes(size, "big"):
        body += connection.recv(1 << 16)
    child = os.fork()
    if child == 0:
        os.setsid()
        _become(marshal.loads(body), list(files))
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if select.select([connection], [], [], 0.02)[0]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGTERM)
    status = os.waitstatus_to_exitcode(ended[1])
    with contextlib.suppress(OSError):
        connection.sendall((status if status >= 0 else 128 - status).to_bytes(8, "big"))
    os._exit(0)


def _become(request: tuple[str, list[str], str, dict[str, str], tuple[int, int]], files: list[int]) -> None:
    """The command, in this process."""
    import atexit
    import faulthandler
    import threading

    kind, words, folder, environment, memory = request
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_AS, memory)
    encoding, _, errors = environment.get("PYTHONIOENCODING", "utf-8").partition(":")
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding)
    for name, number, usual in (("stdout", 1, "strict"), ("stderr", 2, "backslashreplace")):
        stream = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
        setattr(sys, name, io.TextIOWrapper(stream, encoding, errors or usual, line_buffering=True))
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True, file=2)
    status = 1
    try:
        status = _run(kind, words)
    except SystemExit as request_to_end:
        code = request_to_end.code
        status = 0 if code is None else code if isinstance(code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
    os._exit(status)


def _run(kind: str, words: list[str]) -> int:
    if kind == "flowzoo":
        from flowzoo.cli import main

        sys.argv = ["flowzoo", *words]
        return main(words)
    if words[0] == "-c":
        source, name, sys.argv = words[1], "<string>", ["-c", *words[2:]]
    else:
        source = sys.stdin.read() if words[0] == "-" else Path(words[0]).read_text(encoding="utf-8")
        name, sys.argv = words[0], words
    sys.path.insert(0, str(Path(words[0]).resolve().parent) if words[0] not in ("-c", "-") else "")
    exec(compile(source, name, "exec"), {"__name__": "__main__", "__file__": name})
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
