"""docs/API.md and docs/CLI.md say what the code says."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

import freelm

DOCS = Path(__file__).parents[2] / "docs"
ADVICE = "run `python docs/reference.py`"


@pytest.fixture(scope="module")
def reference() -> Any:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_api_page_is_current(reference: Any) -> None:
    assert (DOCS / "API.md").read_text(encoding="utf-8") == reference.api_page(), ADVICE


def test_the_cli_page_is_current(reference: Any) -> None:
    assert (DOCS / "CLI.md").read_text(encoding="utf-8") == reference.cli_page(), ADVICE


def test_every_public_method_and_answer_is_on_the_api_page(reference: Any) -> None:
    page = reference.api_page()
    for name in freelm.__all__:
        assert f"## {name}\n" in page
    for method in ("judge", "classify", "score", "rank", "decide", "generate"):
        assert f"### FreeLM.{method}\n" in page


def test_every_command_is_on_the_cli_page(reference: Any) -> None:
    page = reference.cli_page()
    for command in (
        "judge",
        "classify",
        "score",
        "tasks list",
        "data pull",
        "serve",
        "bench judge",
    ):
        assert f"## freelm {command}\n" in page
