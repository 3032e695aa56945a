"""Reading YAML that people write: data only, no key twice, keys as they are written."""

from pathlib import Path
from typing import Any

import yaml

from freelm.errors import FreeLMError


def read_yaml(path: Path, error: type[FreeLMError]) -> Any:
    """Read a YAML file.

    Keys are text as written (`yes` and `1` too, which YAML takes for a truth value and a number);
    `True` and `False` are written small.

    Args:
        path: A UTF-8 file.
        error: What to raise.

    Raises:
        FreeLMError: Of the kind `error`, naming the file: if it cannot be read, is no YAML or has
            a key twice.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_StrictLoader)
    except OSError as fault:
        raise error(f"{path}: cannot be read ({fault.strerror})") from None
    except UnicodeDecodeError:
        raise error(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except (yaml.YAMLError, ValueError) as fault:  # ValueError: a date that is none, 2026-13-45
        raise error(
            f"{path}: is not valid YAML ({_place_and_problem(fault)}); texts in quotes help"
        ) from None


def _place_and_problem(fault: Exception) -> str:
    mark, problem = getattr(fault, "problem_mark", None), getattr(fault, "problem", None)
    return f"line {mark.line + 1}: {problem}" if mark else " ".join(str(fault).split())


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """`yaml.safe_load`, in C where it is there, with text keys that stand once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if key.tag == _BOOL and key.value.lower() in {"true", "false"}:
                key.value = key.value.lower()
            key.tag = _TEXT
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


_MERGE, _BOOL, _TEXT = (f"tag:yaml.org,2002:{kind}" for kind in ("merge", "bool", "str"))
