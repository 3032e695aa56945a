import pytest

from freelm.errors import ConfigError
from freelm.serve.http.limits import Limits, parse_limits


def test_every_limit_says_what_it_limits():
    assert all(field.description for field in Limits.model_fields.values())


def test_limits_are_read_from_words():
    found = parse_limits(["max_queue=7", "body_seconds=0.5"])
    assert (found.max_queue, found.body_seconds) == (7, 0.5)
    assert found.max_claims == Limits().max_claims


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("max_queue", "must have the form name=value"),
        ("max_queues=3", "max_queues: unknown key; did you mean 'max_queue'"),
        ("max_question=2", "max_question: unknown key; did you mean 'max_questions'"),
        ("max_queue=0", "max_queue: "),
        ("max_queue=many", "max_queue: "),
        ("body_seconds=inf", "body_seconds: "),
        ("body_seconds=nan", "body_seconds: "),
        ("max_context_tokens=7", "max_context_tokens: "),
    ],
)
def test_a_bad_limit_is_named(word, message):
    with pytest.raises(ConfigError, match=message):
        parse_limits([word])
