import errno

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from freelm.errors import available, describe_validation, first_line, os_reason, suggest


def test_available_names_are_sorted() -> None:
    assert available(["b", "a"]) == "available: a, b"
    assert available([]) == "none available"


def test_suggestions_come_closest_first_and_are_three_at_most() -> None:
    found = suggest("sst2x", ["sst1", "sst2", "sst3", "sst5", "imdb"])
    assert found.startswith("did you mean 'sst2' or ")
    assert found.count("'sst") == 3
    assert suggest("zzz", ["b", "a"]) == "available: a, b"


def test_all_problems_of_a_value_are_in_one_line() -> None:
    class Setting(BaseModel):
        model_config = ConfigDict(extra="forbid")
        rate: float

    with pytest.raises(ValidationError) as caught:
        Setting.model_validate({"rate": "fast", "rates": 1})
    message = describe_validation(caught.value)
    assert message.startswith("rate: ")
    assert message.endswith("; rates: unknown key")


def test_an_exception_is_told_by_its_first_line() -> None:
    assert first_line(ValueError("\n  one \ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"
    assert len(first_line(ValueError("x" * 999))) == 200


def test_a_failed_file_operation_is_told_by_its_reason() -> None:
    assert os_reason(OSError(errno.ENOSPC, "No space left on device", "a")) == (
        "No space left on device"
    )
    assert os_reason(OSError("lost")) == "lost"
