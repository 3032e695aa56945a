"""Loading a model by name: a release, a folder that was trained, or an untrained base."""

from dataclasses import dataclass

import torch

from freelm.data.prompts import PROMPTS, prompted_form
from freelm.errors import ModelError
from freelm.model.bases import WHEEL_BASES, UnknownBaseError, load_base, unknown_model
from freelm.model.compute.threads import apply_threads
from freelm.model.network import FreeLMNetwork
from freelm.model.releases import model_folder, released_names
from freelm.model.saving import FACTS_FILE, ModelFacts, load_trained, read_facts


@dataclass(frozen=True)
class LoadedModel:
    """A network and what is known about it.

    Attributes:
        network: The network in evaluation mode; an adapter is merged.
        facts: From `freelm.json`; for an untrained base, with temperature 1 and no record.
        name: The name it was loaded by.
    """

    network: FreeLMNetwork
    facts: ModelFacts
    name: str


def load_model(
    name: str,
    dtype: torch.dtype = torch.float32,
    prompt: str | None = None,
    device: torch.device | None = None,
) -> LoadedModel:
    """Load a model to judge with.

    Args:
        name: A released model (`freelm-135m`), a FreeLM folder, or a base (shipped name, folder,
            GGUF file, Hub id), which is judged by a stated prompt because it has no verdict.
        dtype: Type of the weights in memory.
        prompt: For bases: name of the prompt; None means the first of `PROMPTS`.
        device: Where it is to run; None means the CPU.

    Raises:
        ModelError: If there is no such model or it is damaged.
    """
    apply_threads()
    folder = model_folder(name)
    if (folder / FACTS_FILE).is_file():
        facts = read_facts(folder)
        return LoadedModel(load_trained(folder, facts, dtype).eval().to(device), facts, name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: is not a model folder (no {FACTS_FILE}, no config.json)")
    try:
        base = load_base(name, dtype)
    except UnknownBaseError:
        raise unknown_model(name, [*released_names(), *WHEEL_BASES]) from None
    form = prompted_form(base.tokenizer, prompt or next(iter(PROMPTS)))
    facts = ModelFacts("base", name, base.checksum, {})
    return LoadedModel(FreeLMNetwork(base.model, form).eval().to(device), facts, name)
