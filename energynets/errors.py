"""The one exception that stands for a mistake of the user's and not of ours."""


class BadInputError(ValueError):
    """What the user gave cannot be used; the message is one line: what, wanted, got.

    Entry points print the message alone and exit with status 2; everything else is a defect
    and keeps its traceback.
    """
