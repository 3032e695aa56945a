"""Where a model computes."""

import torch

from freelm.errors import ModelError, first_line


def find_device(name: str | None) -> torch.device:
    """Where to compute.

    Args:
        name: `cpu`, `cuda`, or one of several GPUs such as `cuda:1`; None takes a GPU if there is
            one.

    Raises:
        ModelError: If there is no such device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        known = device.type != "cpu" or not device.index  # a machine has one `cpu`
    except RuntimeError:
        known = False
    if not known:
        raise ModelError(
            f"device is {name!r}; it must be cpu, cuda, or one of several GPUs such as cuda:1"
        )
    try:
        torch.zeros(1, device=device).item()  # a device can only be known by using it
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"device is {name!r}, and no such GPU is here ({first_line(error)}); "
            "leave it out to take what is there"
        ) from None
    return device
