"""Reading Python pickles as data: a small interpreter that imports nothing and calls nothing that a file names.

The opcodes are split by the standard library's `pickletools`; what they build is built here. A name in the file
("module.name") stands for one of the caller's constructors, or for nothing: then the object becomes a `Foreign`, an
empty shell that keeps what the file puts into it. Files that ask for functions of the standard library, which no plain
data needs, are refused with that name, since somebody meant them to run.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Protocol

from flowzoo.files.pickle_names import Name
from flowzoo.files.reading import DAMAGE, reason

LONGEST = 10_000_000
"""Opcodes that are read at most; a checkpoint with its optimiser has some hundred thousand."""
COPIES = 8
"""How often, on average, every byte of a pickle may be copied: a few bytes can ask for a copy of a long list."""
LARGEST_KEY = 2**60
"""Beyond it different numbers have equal hashes, and a dictionary of them takes for ever to fill."""
LARGEST_KEY_TUPLE = 100
"""Parts of a tuple that may be a key, on each level of it."""
DEEPEST_KEY = 4
"""Nesting of tuples that may be keys: Python's hash of a deeper one overflows the C stack at some depth."""


class PickleError(ValueError):
    """The file is damaged, or no pickle of plain values. The message is half a sentence about the file."""


class CodeError(PickleError):
    """The file asks for functions; the message is their name."""


class Foreign(dict[Any, Any]):
    """An object of a class that is not ours: its name, and the items that a file gives it if it is a dictionary.

    Attributes:
        name: of its class.
        state: its attributes as the file has them, or None.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.state: Any = None

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:  # type: ignore[override]  # dictionaries have none; this one is compared by identity
        return id(self)

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Unfinished(Protocol):
    """What a constructor may return for an object that the file completes in a second step."""

    def finished(self, state: Any) -> Any:
        """The object that takes its place, after the file's BUILD."""


Constructor = Callable[..., Any]
Globals = Mapping[tuple[str, str], Any]

_MARK = object()


def read_pickle(
    stream: BinaryIO, size: int, known: Globals | None = None, persistent: Constructor | None = None
) -> tuple[Any, set[str]]:
    """The object that one pickle describes; `stream` then stands behind it.

    Args:
        stream: at the pickle's first byte.
        size: bytes in `stream`; what is built is bounded by it.
        known: (module, name) -> what it stands for: a constructor that checks its arguments, or a value. Added to those
            of plain containers.
        persistent: what gives the object for a persistent id; None: there may be none.

    Returns:
        The object, and the names of all shells in it.

    Raises:
        PickleError: see there; CodeError: it asks for functions.
    """
    machine = _Machine({**_CONTAINERS, **(known or {})}, persistent, COPIES * size + 1_000_000)
    try:
        return machine.run(stream), machine.foreign
    except PickleError:
        raise
    except DAMAGE as error:
        raise PickleError(reason(error)) from error


class _Machine:
    """The stack, the marks and the memo of one pickle; a method for every group of opcodes, named after pickletools."""

    def __init__(self, known: Globals, persistent: Constructor | None, budget: int) -> None:
        self.known, self.persistent, self.budget = known, persistent, budget
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.places: dict[int, list[int]] = {}  # id of an unfinished object -> where the memo has it
        self.foreign: set[str] = set()

    def run(self, stream: BinaryIO) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > LONGEST:
                raise PickleError(f"it has more than {LONGEST:,} steps")
            name = opcode.name
            if name == "STOP":
                return self.take()
            if name in _VALUES:
                self.stack.append(argument)
            elif name in _ACTIONS:
                _ACTIONS[name](self, argument)
            elif name not in ("PROTO", "FRAME"):
                raise PickleError(f"it uses {name.lower()}, which no plain data needs")
        raise PickleError("it ends too early")

    # ------------------------------------------------------------------------------------------- stack

    def above_mark(self) -> list[Any]:
        """Take what lies above the last mark, and the mark."""
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                found = self.stack[index + 1 :]
                del self.stack[index:]
                return found
        raise PickleError("a mark is missing")

    def take(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise PickleError("a mark is in the way")
        return value

    def taken(self, count: int) -> tuple[Any, ...]:
        return tuple(self.take() for _ in range(count))[::-1]

    def put(self, place: int) -> None:
        value = self.stack[-1]
        self.memo[place] = value
        if hasattr(value, "finished"):
            self.places.setdefault(id(value), []).append(place)

    # ------------------------------------------------------------------------------------------ containers

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Foreign):
            raise PickleError("it appends to what is no list")

    def set_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(values) % 2:
            raise PickleError("it sets items of what is no dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[_checked_key(key)] = value

    # ------------------------------------------------------------------------------------------ objects

    def named(self, module: Any, name: Any) -> Any:
        """What a name in the file stands for."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("a name is no text")
        if (module, name) in self.known:
            return self.known[module, name]
        found = Name(module, name)
        if found.is_code():
            raise CodeError(str(found))
        return found

    def called(self, target: Any, arguments: Any) -> Any:
        """The object that `target`, a name or a constructor of ours, makes of its arguments."""
        if isinstance(target, Name):
            return self.shell(str(target))
        if not callable(target) or isinstance(target, Foreign) or not isinstance(arguments, tuple):
            raise PickleError("it calls what is no class")
        self.budget -= sum(len(part) for part in arguments if isinstance(part, (list, tuple, dict, str, bytes)))
        if self.budget < 0:
            raise PickleError("it asks for more copies than plain data needs")
        made = target(*arguments)
        if isinstance(made, Foreign):
            self.foreign.add(made.name)
        return made

    def shell(self, name: str) -> Foreign:
        self.foreign.add(name)
        return Foreign(name)

    def build(self, state: Any) -> None:
        """Complete the object on top. Attributes of containers (an OrderedDict may have some) are left out."""
        target = self.stack[-1]
        if isinstance(target, Foreign):
            target.state = state
        elif hasattr(target, "finished"):
            self.stack[-1] = target.finished(state)
            for place in self.places.pop(id(target), []):  # its id may be another object's from now on
                self.memo[place] = self.stack[-1]

    def persistent_object(self, identity: Any) -> Any:
        if self.persistent is None:
            raise PickleError("it refers to something outside of it")
        return self.persistent(identity)


def _checked_key(key: Any) -> Any:
    """A key that can be hashed without any trouble.

    Raises:
        PickleError: it is a container, or a tuple of many or deeply nested parts.
    """
    parts, depth = [key], 0
    while parts:
        if len(parts) > LARGEST_KEY_TUPLE or depth > DEEPEST_KEY:
            raise PickleError("one of its keys is neither a text nor a number")
        for part in parts:
            if isinstance(part, list) or (isinstance(part, dict) and not isinstance(part, Foreign)):
                raise PickleError("one of its keys is neither a text nor a number")
            if isinstance(part, int) and abs(part) > LARGEST_KEY:
                raise PickleError("one of its keys is a number beyond 60 bits")
        parts, depth = (
            [inner for part in parts if isinstance(part, tuple) for inner in part[: LARGEST_KEY_TUPLE + 1]],
            depth + 1,
        )
    return key


def _dictionary(items: Any = ()) -> dict[Any, Any]:
    pairs = items.items() if isinstance(items, dict) else _listed(items)
    return {_checked_key(key): value for key, value in pairs}


def _listed(items: Any = ()) -> list[Any]:
    if not isinstance(items, (list, tuple)):
        raise PickleError("the items of a list are no list")
    return list(items)


def _bytes(text: Any = "", encoding: Any = "latin-1") -> bytes:
    """What `codecs.encode` and `bytearray` are used for: bytes that older protocols write as text."""
    if isinstance(text, (bytes, bytearray)):
        return bytes(text)
    if not isinstance(text, str) or str(encoding).lower() not in ("latin1", "latin-1", "utf-8", "utf8", "ascii"):
        raise PickleError("an encoding is unknown")
    return text.encode(str(encoding))


def _reconstructed(kind: Any, base: Any = None, state: Any = None) -> Any:
    """`copyreg._reconstructor`: an object of a class in the manner of protocol 0 and 1."""
    shell = Foreign(str(kind) if isinstance(kind, Name) else "object")
    if isinstance(state, dict):
        shell.update(_dictionary(state))
    return shell


_CONTAINERS: dict[tuple[str, str], Any] = {
    **{(module, "OrderedDict"): _dictionary for module in ("collections", "_collections")},
    ("collections", "defaultdict"): lambda *factory: {},
    ("collections", "Counter"): _dictionary,
    ("_codecs", "encode"): _bytes,
    **{(module, "_reconstructor"): _reconstructed for module in ("copyreg", "copy_reg")},
}
for _module in ("builtins", "__builtin__"):
    _CONTAINERS |= {
        (_module, "dict"): _dictionary,
        # Sets would hash what is in them; as lists they are as good here.
        **{(_module, kind): _listed for kind in ("list", "tuple", "set", "frozenset")},
        (_module, "bytes"): _bytes,
        (_module, "bytearray"): _bytes,
    }

_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
"""Opcodes whose argument is the value; pickletools has decoded it. Python 2's strings come as Latin-1 text."""


def _stack_global(machine: _Machine, _: Any) -> None:
    module, name = machine.taken(2)
    machine.stack.append(machine.named(module, name))


def _global(machine: _Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    machine.stack.append(machine.named(module, name))


def _inst(machine: _Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    arguments = tuple(machine.above_mark())
    machine.stack.append(machine.called(machine.named(module, name), arguments))


def _object(machine: _Machine, _: Any) -> None:
    target, *arguments = machine.above_mark()
    machine.stack.append(machine.called(target, tuple(arguments)))


def _reduce(machine: _Machine, _: Any) -> None:
    target, arguments = machine.taken(2)
    machine.stack.append(machine.called(target, arguments))


def _new_object_with_keywords(machine: _Machine, _: Any) -> None:
    target, arguments, _keywords = machine.taken(3)
    machine.stack.append(machine.called(target, arguments))


def _pop(machine: _Machine, _: Any) -> None:
    machine.stack.pop()


def _pop_mark(machine: _Machine, _: Any) -> None:
    machine.above_mark()


def _get(machine: _Machine, place: int) -> None:
    machine.stack.append(machine.memo[place])


def _push(make: Callable[[_Machine], Any]) -> Callable[[_Machine, Any], None]:
    def action(machine: _Machine, _: Any) -> None:
        machine.stack.append(make(machine))

    return action


_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _push(lambda machine: _MARK),
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": _push(lambda machine: machine.stack[-1]),
    "NONE": _push(lambda machine: None),
    "NEWTRUE": _push(lambda machine: True),
    "NEWFALSE": _push(lambda machine: False),
    "EMPTY_LIST": _push(lambda machine: []),
    "EMPTY_DICT": _push(lambda machine: {}),
    "EMPTY_TUPLE": _push(lambda machine: ()),
    "EMPTY_SET": _push(lambda machine: []),
    "LIST": _push(_Machine.above_mark),
    "FROZENSET": _push(_Machine.above_mark),
    "TUPLE": _push(lambda machine: tuple(machine.above_mark())),
    "TUPLE1": _push(lambda machine: machine.taken(1)),
    "TUPLE2": _push(lambda machine: machine.taken(2)),
    "TUPLE3": _push(lambda machine: machine.taken(3)),
    "DICT": _push(lambda machine: _dictionary(_pairs(machine.above_mark()))),
    "APPEND": lambda machine, _: machine.append([machine.take()]),
    "APPENDS": lambda machine, _: machine.append(machine.above_mark()),
    "ADDITEMS": lambda machine, _: machine.append(machine.above_mark()),
    "SETITEM": lambda machine, _: machine.set_items(list(machine.taken(2))),
    "SETITEMS": lambda machine, _: machine.set_items(machine.above_mark()),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "INST": _inst,
    "OBJ": _object,
    "NEWOBJ": _reduce,
    "NEWOBJ_EX": _new_object_with_keywords,
    "REDUCE": _reduce,
    "BUILD": lambda machine, _: machine.build(machine.take()),
    "PERSID": lambda machine, argument: machine.stack.append(machine.persistent_object(argument)),
    "BINPERSID": lambda machine, _: machine.stack.append(machine.persistent_object(machine.take())),
    "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
}


def _pairs(values: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(values[::2], values[1::2], strict=True))
