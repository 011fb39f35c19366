"""The one exception that is meant for the person at the keyboard."""


class InputError(ValueError):
    """Something the user gave is wrong: a file, a track, a key. The message is one line and says what to do.

    Commands print it without a traceback and exit with status 2.
    """
