"""docs/SERVING.md agrees with the code."""

import re
from pathlib import Path

from freelm.cli.options import DEFAULT_MODEL
from freelm.serve.http.limits import Limits
from freelm.serve.protocols import load_endpoints

PAGE = (Path(__file__).parents[2] / "docs" / "SERVING.md").read_text("utf-8")


def test_every_limit_stands_there_with_its_default():
    told = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", PAGE, re.MULTILINE))
    real = {name: field.default for name, field in Limits.model_fields.items()}
    assert {name: float(value) for name, value in told.items()} == real


def test_every_route_stands_there():
    source = (Path(__file__).parents[2] / "src/freelm/serve/app.py").read_text("utf-8")
    routes = set(re.findall(r'"(/[\w/]+)"', source)) - {"/docs", "/openapi.json"}
    routes |= {path for endpoint in load_endpoints() for path in endpoint.paths}
    assert len(routes) > 10
    for route in routes:
        assert f"`{route}`" in PAGE or f" {route}`" in PAGE, route


def test_the_examples_name_the_model_that_is_served():
    assert f"freelm serve {DEFAULT_MODEL}" in PAGE
    named = re.findall(r"""["']?model["']?\s*[:=]\s*["']([^"']+)["']""", PAGE)
    assert len(named) >= 3
    assert set(named) == {DEFAULT_MODEL}
