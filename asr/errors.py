"""The exception for bad input: one sentence that names what is wrong, where, and what to do about it."""


class InputError(ValueError):
    """Bad input from outside: a file, a line, an option. The CLI prints the sentence and exits with code 2."""
