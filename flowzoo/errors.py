"""The one exception for mistakes in what the user gave: files, options, names, sizes."""

LONGEST_MESSAGE = 990
"""Characters of a message; of a longer one the middle is left out."""


_OF_ONE = {"are": "is", "have": "has"}


class InputError(ValueError):
    """Bad input. The message is one line: what is wrong, where, and what to do.

    The command line prints it and exits with status 2; in Python it is an ordinary `ValueError`. Whatever names and
    values from files it tells, it is `one_line`.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


def one_line(message: str) -> str:
    """A message on one line, without control characters, and not too long to be read."""
    text = " ".join(part.strip() for part in message.splitlines())
    line = "".join(letter if letter.isprintable() else _escape(letter) for letter in text)
    if len(line) <= LONGEST_MESSAGE:
        return line
    kept = (LONGEST_MESSAGE - 5) // 2
    return f"{line[:kept]} ... {line[-kept:]}"


def counted(number: int, noun: str, verb: str = "", *, of: int | None = None) -> str:
    """A number of things in words: "1 pair", "2 pairs are", "1 of 8 pairs is".

    Args:
        number: how many.
        noun: the thing, without its s.
        verb: what they do, as several do it: "are", "have", "hold".
        of: how many there could be.
    """
    things = number if of is None else of
    text = f"{number}" if of is None else f"{number} of {of}"
    text += f" {noun}" + "s" * (things != 1)
    return f"{text} {_OF_ONE.get(verb, verb + 's') if number == 1 else verb}" if verb else text


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
