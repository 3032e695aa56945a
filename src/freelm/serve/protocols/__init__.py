"""The dialects that the server speaks, one module each.

A module registers its endpoints when it is imported (`freelm.serve.protocols.base.register`), and
`load_endpoints` imports every module of this package. So a new dialect is one new file.
"""

from importlib import import_module
from pkgutil import iter_modules

from freelm.serve.protocols.base import ENDPOINTS, Endpoint


def load_endpoints() -> list[Endpoint]:
    """The endpoints of all dialects."""
    for module in sorted(iter_modules(__path__), key=lambda module: module.name):
        import_module(f"{__name__}.{module.name}")
    return list(ENDPOINTS)
