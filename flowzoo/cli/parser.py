"""Reads the command line, runs one verb, and turns failures into one line and an exit status."""

import argparse
import importlib
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from flowzoo import __version__
from flowzoo.errors import InputError, one_line

VERBS = {
    "infer": "flow of an image pair, a folder of frames, a video or a list of pairs",
    "interpolate": "frames in between: of two images, a folder or a video",
    "predict": "the frames that follow those of a folder or a video",
    "superresolve": "frames or a video, four times the size",
    "evaluate": "run a model over a data set by its official protocol",
    "train": "train or fine-tune by a preset",
    "synth": "render synthetic training pairs with exact flow and occlusion",
    "distill": "label a data set with a trained network",
    "export": "a network as an .onnx or .pt2 file that runs without flowzoo",
    "models": "the zoo as a table, or one network's card",
    "demo": "a page on this machine for a pair of images",
    "weights": "list, download, convert and inspect weights",
    "bench": "time a model, or the operators",
}

DESCRIPTION = """Optical flow networks whose parts are interchangeable.

verbs:
""" + "\n".join(f"  {verb:14s}{text}" for verb, text in VERBS.items())

EPILOG = """examples:
  flowzoo infer a.png b.png -o flow.flo --picture flow.png
  flowzoo evaluate sintel-final --root Sintel --model liteflownet2 --weights liteflownet2-sintel
  flowzoo VERB --help"""

_TERMINATED = 128 + signal.SIGTERM


class Parser(argparse.ArgumentParser):
    """argparse whose mistakes are one line on standard error and exit status 2."""

    def error(self, message: str) -> NoReturn:
        """Leave with status 2 after one line."""
        raise InputError(f"{message} ({self.prog} --help shows the options)")


def make_parser(verb: str | None) -> Parser:
    """The parser of one verb, or the one that lists all of them."""
    shown = argparse.RawDescriptionHelpFormatter
    if verb is None:
        parser = Parser(prog="flowzoo", description=DESCRIPTION, epilog=EPILOG, formatter_class=shown)
        parser.add_argument("--version", action="version", version=f"flowzoo {__version__}")
        parser.add_argument("verb", choices=VERBS, metavar="VERB", help="one of the above")
        return parser
    module = importlib.import_module(f"flowzoo.cli.{verb}")
    parser = Parser(prog=f"flowzoo {verb}", description=module.HELP, formatter_class=shown, allow_abbrev=False)
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of a failure")
    parser.set_defaults(run=module.run)
    return parser


def run(words: Sequence[str]) -> int:
    """Run the command `words`; returns the exit status."""
    debug = "--debug" in words
    _print_whatever_a_name_holds()
    logging.basicConfig(level=logging.INFO, format="flowzoo: %(message)s", stream=sys.stderr)
    previous = signal.getsignal(signal.SIGTERM)
    if previous is signal.SIG_DFL:
        # By default a terminated process leaves its temporary files behind.
        signal.signal(signal.SIGTERM, _terminated)
    try:
        if words and words[0] in VERBS:
            arguments = make_parser(words[0]).parse_args(list(words[1:]))
            arguments.run(arguments)
            sys.stdout.flush()
            return 0
        make_parser(None).parse_args(list(words) or ["--help"])
    except InputError as error:
        return _fail(str(error), 2, debug)
    except KeyboardInterrupt:
        return _fail("interrupted; what was written is complete", 130, False)
    except BrokenPipeError:
        # The reader of our output has gone; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except SystemExit as exit_request:
        if exit_request.code == _TERMINATED:
            resume = ": go on with --resume" if words[:1] == ["train"] else ""
            return _fail(f"terminated; what was written is complete{resume}", _TERMINATED, False)
        return exit_request.code if isinstance(exit_request.code, int) else 1
    except OSError as error:
        # Whatever the system refuses about a file or the machine is the user's to mend, wherever we met it.
        return _fail(_refusal(error), 2, debug)
    except Exception as error:  # the last door: a fault of ours, said in one line
        return _fail(f"internal error: {type(error).__name__}: {error} (--debug shows where)", 1, debug)
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


def _terminated(number: int, frame: object) -> NoReturn:
    raise SystemExit(_TERMINATED)


def _print_whatever_a_name_holds() -> None:
    """A character that the console cannot show is printed as an escape, and never ends the work."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _refusal(error: OSError) -> str:
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    reason = error.strerror or str(error) or type(error).__name__
    what = f"{' and '.join(names)}: {reason}; check the path and its permissions" if names else reason
    return f"{what} (--debug shows where)"


def _fail(message: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"flowzoo: {one_line(message)}", file=sys.stderr)
    return status
