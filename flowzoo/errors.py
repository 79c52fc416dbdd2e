"""The one exception for mistakes in what the user gave: files, options, names, sizes."""

LONGEST_MESSAGE = 990
"""Characters of a message; of a longer one the middle is left out."""


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


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
