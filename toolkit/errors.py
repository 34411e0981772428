"""Every error this toolkit raises on purpose.

::

    ToolkitError              never raised itself; the command line turns it into one line
    ├── InputError            what the user gave cannot be used                     exit 2
    │   ├── DataError         a data set, a file, a row, a column
    │   ├── ArtifactError     a folder that is not, or no longer, a whole artifact
    │   ├── RecipeError       a setting out of its range
    │   └── MissingExtra      an optional package that this command needs
    └── GateError             the work was done and the result is not good enough    exit 1
        └── ParityError       the exported model does not answer like the trained one

A message is one line: what came, what is allowed, what to do.
"""

from __future__ import annotations

import importlib
from types import ModuleType


class ToolkitError(Exception):
    """Root of the tree; `exit_code` is what the command line leaves with."""

    exit_code = 3


class InputError(ToolkitError):
    """What the user gave cannot be used."""

    exit_code = 2


class DataError(InputError):
    """A data set, a file, a row or a column that cannot be read as asked."""


class ArtifactError(InputError):
    """A folder that is not, or no longer is, a whole artifact."""


class RecipeError(InputError):
    """A setting out of its range, or one that does not exist."""


class MissingExtra(InputError):  # noqa: N818  (it reads as what it says: an extra is missing)
    """A package that is part of an extra and is not installed."""


class GateError(ToolkitError):
    """The work was done, and the result is not good enough to go on with."""

    exit_code = 1


class ParityError(GateError):
    """The exported model does not answer like the one it was exported from."""


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional module, or raise `MissingExtra` naming the extra that brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            raise MissingExtra(
                f"{module} is not installed; it comes with the extra [{extra}]: pip install 'serving-toolkit[{extra}]'"
            ) from None
        raise
