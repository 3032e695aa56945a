"""Compiled forward passes, for servers: a minute at the start, and less for each batch after it."""

import torch

from freelm.data.packing import build_tree, collate
from freelm.errors import ModelError, first_line
from freelm.model.network import FreeLMNetwork

_CLAIMS = ((1, 2), (1, 3))
_ROWS = (1, 3)
"""Rows of the batches that are tried: one and several are compiled apart, lengths are not."""


def compile_network(network: FreeLMNetwork) -> None:
    """Have a network compile its forward pass over whole trees, and try it.

    What is read behind a kept context is not compiled: its layers differ in their place in the
    cache, and each would be compiled by itself.

    Args:
        network: The network, in evaluation mode, where it is to run.

    Raises:
        ModelError: If it cannot be compiled on this machine.
    """
    network.compiled = torch.compile(network.causal.base_model.forward, dynamic=True)
    trees = [build_tree(range(1, 12 + n), _CLAIMS) for n in range(max(_ROWS))]
    try:
        with torch.inference_mode():
            for count in _ROWS:
                batch = collate(trees[:count], [[row] for row in range(count)])
                network.margins(batch.to(network.device))
    except Exception as error:  # compilers raise whatever they meet; the user needs one line
        network.compiled = None
        raise ModelError(
            f"the model cannot be compiled here ({first_line(error)}); a CPU needs a C++ compiler "
            "such as g++ for it; leave compiling out"
        ) from None
