"""Write `docs/API.md` and `docs/CLI.md` from the code. Run: python docs/reference.py.

A test compares both pages with what the code says.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

import freelm
from freelm.cli.main import app

DOCS = Path(__file__).parent

API_HEAD = """# Python API

Everything here is imported from `freelm`. This page is generated from the docstrings by
`python docs/reference.py`.
"""

CLI_HEAD = """# Command line

Data goes to standard output, messages go to standard error. Exit codes: 0 success, 1 failure,
2 wrong usage, 130 interrupted. `--verbose` and `--debug` go with every command. This page is
generated from the commands by `python docs/reference.py`.
"""


def main() -> None:
    """Write both pages."""
    (DOCS / "API.md").write_text(api_page(), encoding="utf-8")
    (DOCS / "CLI.md").write_text(cli_page(), encoding="utf-8")


def api_page() -> str:
    """The public names of the package, with `FreeLM` first."""
    names = sorted(freelm.__all__, key=lambda name: (name != "FreeLM", name))
    return "\n".join([API_HEAD, *(line for name in names for line in _class_section(name))])


def _class_section(name: str) -> Iterator[str]:
    documented = getattr(freelm, name)
    yield f"## {name}\n\n{_text(documented)}\n"
    for member, value in vars(documented).items():
        if member.startswith("_") or not value.__doc__ or name == "FreeLMError":
            continue
        if isinstance(value, property):
            yield f"### {name}.{member}\n\n{_text(value)}\n"
        elif callable(value) or isinstance(value, classmethod):
            signature = _signature(getattr(documented, member))
            yield f"### {name}.{member}\n\n```python\n{member}{signature}\n```\n\n{_text(value)}\n"


def _signature(function: Any) -> str:
    """The parameters of a method as its user passes them, one line each if there are many."""
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    text = _unquoted(str(signature.replace(parameters=parameters)))
    if len(text) <= 80:
        return text
    shown = [_unquoted(str(p)) for p in parameters]
    first_keyword = next(
        (i for i, p in enumerate(parameters) if p.kind is p.KEYWORD_ONLY), len(shown)
    )
    if first_keyword < len(shown):
        shown.insert(first_keyword, "*")
    returns = text.rpartition(" -> ")[2]
    return "(\n" + "".join(f"    {line},\n" for line in shown) + f") -> {returns}"


def _unquoted(text: str) -> str:
    """Annotations are strings at run time; a reader wants them without quotes."""
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)


def _text(documented: Any) -> str:
    """A Google-style docstring as Markdown."""
    lines = []
    section = None
    for line in (inspect.getdoc(documented) or "").splitlines():
        heading = re.fullmatch(r"(Args|Attributes|Returns|Raises|Example|Examples|Yields):", line)
        if heading:
            section = heading[1]
            lines += [f"**{section}**", ""]
        elif section and line.startswith("    "):
            lines.append(_entry(line[4:], section))
        else:
            section = section if not line else None
            lines.append(line)
    return "\n".join(lines).strip()


def _entry(line: str, section: str) -> str:
    """A line of a section: `name: words` becomes a list item, its continuation stays below it."""
    if section in ("Returns", "Yields"):
        return line
    if section.startswith("Example"):
        return f"    {line}"
    named = re.match(r"(\*{0,2}\w+): (.*)", line)
    return f"- `{named[1]}`: {named[2]}" if named else f"  {line.strip()}"


def cli_page() -> str:
    """Every command with its arguments and options."""
    root = typer.main.get_command(app)
    return "\n".join([CLI_HEAD, *(_command_section(*found) for found in _commands(root, "freelm"))])


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    for child, found in command.commands.items():
        yield from _commands(found, f"{name} {child}")


def _command_section(name: str, command: Any) -> str:
    usage = " ".join(
        [name, *(_argument(p) for p in command.params if _is_argument(p)), "[OPTIONS]"]
    )
    lines = [f"## {name}", "", "```", usage, "```", "", inspect.cleandoc(command.help or ""), ""]
    options = [p for p in command.params if not getattr(p, "hidden", False)]
    if options:
        lines += ["| argument or option | meaning | default |", "|---|---|---|"]
        lines += [_option_row(parameter) for parameter in options]
        lines.append("")
    return "\n".join(lines)


def _is_argument(parameter: Any) -> bool:
    return parameter.param_type_name == "argument"


def _argument(parameter: Any) -> str:
    name = parameter.name.upper()
    return name if parameter.required else f"[{name}]"


def _option_row(parameter: Any) -> str:
    if _is_argument(parameter):
        name = f"`{parameter.name.upper()}`"
    else:
        name = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
    default = parameter.default
    shown = "" if default in (None, False, ()) or callable(default) else f"`{_plain(default)}`"
    if parameter.required:
        shown = "required"
    meaning = " ".join((parameter.help or "").split()).replace("|", "\\|")
    choices = getattr(parameter.type_descriptor, "choices", None)
    if choices:
        meaning += f" One of {', '.join(f'`{_plain(choice)}`' for choice in choices)}."
    return f"| {name} | {meaning} | {shown} |"


def _plain(value: Any) -> str:
    return str(getattr(value, "value", value))


if __name__ == "__main__":
    main()
