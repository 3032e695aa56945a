"""Reading YAML that people write: data only, no duplicate keys, bounded size and depth."""

from pathlib import Path
from typing import Any

import yaml

from freelm.errors import FreeLMError, os_reason

MAX_BYTES = 2**22
MAX_DEPTH = 50
MAX_VALUES = 200_000
"""Values of a file with every alias expanded: nested aliases can stand for billions."""


def read_yaml(path: Path, error: type[FreeLMError]) -> Any:
    """Read a YAML file.

    Keys are text as written (`yes` and `1` too, which YAML takes for a boolean and a number);
    `True` and `False` become `true` and `false`.

    Args:
        path: A UTF-8 file of at most `MAX_BYTES`.
        error: Exception to raise.

    Raises:
        FreeLMError: Of type `error`, naming the file: if it cannot be read, is not valid YAML, has
            a duplicate key, or is larger, more deeply nested or longer than allowed.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise error(f"{path}: is larger than {MAX_BYTES:,} bytes, the most that YAML may have")
        text = path.read_text(encoding="utf-8-sig")
        _check_limits(text)
        return yaml.load(text, Loader=_StrictLoader)
    except OSError as fault:
        raise error(f"{path}: cannot be read ({os_reason(fault)})") from None
    except UnicodeDecodeError:
        raise error(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except (yaml.YAMLError, ValueError) as fault:  # ValueError: an impossible date, 2026-13-45
        raise error(
            f"{path}: is not valid YAML ({_place_and_problem(fault)}); texts in quotes help"
        ) from None


def _place_and_problem(fault: Exception) -> str:
    mark, problem = getattr(fault, "problem_mark", None), getattr(fault, "problem", None)
    return f"line {mark.line + 1}: {problem}" if mark else " ".join(str(fault).split())


def _check_limits(text: str) -> None:
    """Walk over the parser's events, because building deep values overflows the C stack.

    Raises:
        yaml.YAMLError: If the text is not YAML, or beyond a limit.
    """
    count, sizes = 0, dict[str | None, int]()
    opened: list[tuple[str | None, int]] = []  # anchor and count before it
    for event in yaml.parse(text, Loader=_StrictLoader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                _refuse(event, f"alias {event.anchor!r} is used before its anchor is complete")
            count += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, count))
            count += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor:
                sizes[anchor] = count - before
        if len(opened) > MAX_DEPTH:
            _refuse(event, f"nested more than {MAX_DEPTH} levels deep")
        if count > MAX_VALUES:
            _refuse(event, f"more than {MAX_VALUES:,} values, aliases included")


def _refuse(event: yaml.Event, problem: str) -> None:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)  # type: ignore[arg-type]


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """`yaml.safe_load`, in C where available, with unique keys that are text."""

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
                    None, None, f"duplicate key {key.value!r}", key.start_mark
                )
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


_MERGE, _BOOL, _TEXT = (f"tag:yaml.org,2002:{kind}" for kind in ("merge", "bool", "str"))
