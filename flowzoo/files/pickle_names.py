"""Names of classes and functions in pickles: texts, of which some say that somebody meant to run something."""

import sys
from dataclasses import dataclass

from flowzoo.files.reading import shown

_PATHS = {"Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"}
_PLAIN = {"object", "int", "float", "complex", "bool", "str", "slice", "range", "unicode", "long"}
_HARMLESS: dict[str, set[str] | None] = {
    "argparse": {"Namespace"},
    "collections": {"deque", "UserDict", "ChainMap"},
    "datetime": None,
    "decimal": None,
    "enum": None,
    "fractions": None,
    "functools": {"partial"},
    "logging": {"Logger", "RootLogger"},
    "numbers": None,
    "pathlib": _PATHS,
    "pathlib._local": _PATHS,
    "random": {"Random"},
    "time": {"struct_time"},
    "types": {"SimpleNamespace"},
    "typing": None,
    "uuid": {"UUID", "SafeUUID"},
    "zoneinfo": None,
    "builtins": _PLAIN,
    "__builtin__": _PLAIN,
}
"""Classes of the standard library that become shells; None: all of the module."""
_STANDARD = sys.stdlib_module_names | {"__builtin__", "copy_reg", "commands", "exceptions", "cPickle", "new", "sets"}
_STANDARD |= {"UserDict", "UserList", "UserString", "Queue", "StringIO", "cStringIO", "urllib2", "popen2", "thread"}
_STANDARD |= {"imp", "pipes", "distutils", "asyncore", "cgi", "crypt", "smtpd", "telnetlib", "uu", "xdrlib"}
"""Of this version of Python, of Python 2, and what versions in between have had."""


@dataclass(frozen=True)
class Name:
    """A class or function that a file names; only a text."""

    module: str
    name: str

    def is_code(self) -> bool:
        """Whether it belongs to the standard library and is none of its classes of plain data."""
        allowed = _HARMLESS.get(self.module, set())
        return self.module.partition(".")[0] in _STANDARD and allowed is not None and self.name not in allowed

    def __str__(self) -> str:
        return shown(f"{self.module}.{self.name}")
