import pytest

from freelm.errors import ModelError
from freelm.model.loading import load_model


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("nowhere", "available: base/smollm2-135m, freelm-135m"),
        ("runs/nowhere", "available: base/smollm2-135m, freelm-135m"),
        ("freelm-135", "did you mean 'freelm-135m'"),
        ("smollm2-135m", "did you mean 'base/smollm2-135m'"),
    ],
)
def test_an_unknown_name_gets_a_suggestion(name, suggested, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=f"unknown model .*{suggested}") as said:
        load_model(name)
    assert "\n" not in str(said.value)
