import pytest

from freelm.errors import ModelError
from freelm.model.loading import load_model


@pytest.mark.parametrize("name", ["nowhere", "runs/nowhere", "freelm-136m"])
def test_an_unknown_name_is_told_what_there_is(name, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"unknown model .*base/smollm2-135m.*freelm-135m") as said:
        load_model(name)
    assert "\n" not in str(said.value)
