"""The one exception for mistakes in what the user gave: files, options, names, sizes."""


class InputError(ValueError):
    """Bad input. The message is one line: what is wrong, where, and what to do.

    The command line prints it and exits with status 2; in Python it is an ordinary `ValueError`.
    """
