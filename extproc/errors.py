"""What can go wrong at start-up, and by whose fault; knows nothing else of the product.

A request never raises: a bad body is a value (see `extproc.routing.request`), our own bug is an assertion.
"""


class DualpoolError(Exception):
    """Something a person can mend; its message says what and how. The command line prints it without a traceback."""


class ConfigurationError(DualpoolError):
    """The operator's settings cannot be used."""


class MissingPartError(DualpoolError):
    """A program or optional package that this command needs is not installed."""
