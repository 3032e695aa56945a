"""The official clients, unmodified, over loopback."""

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")
openai = pytest.importorskip("openai", reason="needs the extra `dev`")
typesafe_sdk = pytest.importorskip("typesafe_sdk", reason="needs the extra `dev`")

from freelm.serve.backend import ModelBackend  # noqa: E402
from freelm.serve.batching import Engine  # noqa: E402
from freelm.serve.http.limits import Limits  # noqa: E402
from freelm.serve.settings import Settings  # noqa: E402
from tiny_serve import KEY, live  # noqa: E402

TEXT = "The film is a delight from the first scene to the last."


@pytest.fixture(scope="module")
def server(model):
    settings = Settings(names=("tiny", "jev-latest"), key=KEY, limits=Limits())
    with live(Engine(ModelBackend(model), settings.limits), settings) as found:
        yield found


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as found:
        yield found


@pytest.fixture
def typesafe(server):
    retry = typesafe_sdk.RetryPolicy(max_retries=0)
    with typesafe_sdk.TypeSafeClient(base_url=server.url, api_key=KEY, retry=retry) as found:
        yield found


def test_decisions(client, model):
    decision = client.decisions.create(
        model="tiny",
        input=TEXT,
        questions=[
            {"type": "predicate", "name": "good", "instructions": "The film is good."},
            {
                "type": "choice",
                "instructions": "What is it about?",
                "choices": [{"value": "film"}, {"value": True, "description": "a dog"}],
            },
            {
                "type": "score",
                "instructions": "How good is it?",
                "levels": [{"label": "bad"}, {"label": "fair"}, {"label": "good"}],
            },
        ],
    )
    good, about, how = decision.answers
    assert (good.type, good.name) == ("predicate", "good")
    assert good.probability == pytest.approx(
        model.judge(TEXT, "The film is good.").probability, abs=1e-5
    )
    assert [share.value for share in about.probabilities] == ["film", True]
    assert about.choice in ("film", True)
    scored = model.score(TEXT, "How good is it?", ["bad", "fair", "good"])
    assert how.score == pytest.approx(scored.value, abs=1e-4)
    assert [share.probability for share in how.probabilities] == pytest.approx(
        list(scored.probabilities.values()), abs=1e-5
    )
    assert decision.usage.total_tokens == decision.usage.input_tokens > 0
    assert decision.usage.input_tokens_details.cached_tokens == 0
    assert decision.usage.output_tokens_details.reasoning_tokens == 0


def test_a_conversation_is_read(client):
    decision = client.decisions.create(
        model="tiny",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "Find it."}]},
            {"type": "function_call", "call_id": "1", "name": "find", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "Found."},
        ],
        questions=[{"type": "predicate", "instructions": "Was it found?"}],
    )
    assert 0 < decision.answers[0].probability < 1


def test_freelms_own_wishes_go_in_the_extra_body(client):
    question = {"type": "predicate", "instructions": "It is long."}
    long = "word " * 5000
    with pytest.raises(openai.BadRequestError, match="max_context_tokens"):
        client.decisions.create(model="tiny", input=long, questions=[question])
    decision = client.decisions.create(
        model="tiny", input=long, questions=[question], extra_body={"freelm": {"truncate": True}}
    )
    assert decision.model_extra["freelm"]["truncated"] is True


def test_errors_are_the_sdks_own(client, server):
    with pytest.raises(openai.NotFoundError) as missing:
        client.decisions.create(
            model="gpt", input="x", questions=[{"type": "predicate", "instructions": "y"}]
        )
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()


def test_models(client, typesafe):
    assert [found.id for found in client.models.list()] == ["tiny", "jev-latest"]
    assert client.models.retrieve("tiny").owned_by == "freelm"
    assert [found.name for found in typesafe.models.list().models] == ["tiny", "jev-latest"]


def test_completions(client, model):
    prompt = "The film is"
    whole = client.completions.create(model="tiny", prompt=prompt, max_tokens=12, temperature=0)
    assert whole.choices[0].text == model.generate(prompt, max_new_tokens=12)
    assert whole.usage.completion_tokens <= 12
    pieces = list(
        client.completions.create(
            model="tiny", prompt=prompt, max_tokens=12, temperature=0, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    text = "".join(choice.text for piece in pieces for choice in piece.choices)
    assert text == whole.choices[0].text
    assert pieces[-1].usage.total_tokens == whole.usage.total_tokens


def test_system_one(typesafe, model):
    from typesafe_sdk import Choice, Noul, Score

    result = typesafe.system_one(
        state=TEXT,
        questions={
            "good": Noul(instructions="The film is good."),
            "spam": Noul(criteria={"true": "It is spam.", "false": "It is a review."}),
            "tone": Choice(instructions="Tone?", criteria={"calm": None, "angry": "Upset words"}),
            "how": Score(instructions="How good is it?", criteria=["bad", "fair", "good"]),
        },
    )
    good = model.judge(TEXT, "The film is good.").probability
    assert result.nouls["good"].noul == pytest.approx(good, abs=1e-5)
    assert 0 < result.nouls["spam"].noul < 1
    assert sum(result.choices["tone"].probabilities.values()) == pytest.approx(1)
    assert result.scores["how"].legend == {0: "bad", 1: "fair", 2: "good"}
    scored = model.score(TEXT, "How good is it?", ["bad", "fair", "good"])
    assert result.scores["how"].score == pytest.approx(scored.value, abs=1e-4)
    assert result.usage.input_tokens > 0
    assert result.request_id


def test_a_long_state_may_come_compressed(server, model):
    from typesafe_sdk import Noul, TypeSafeClient

    long = "The film is a delight. " * 60
    asked = {"good": Noul(instructions="The film is good.")}
    with TypeSafeClient(base_url=server.url, api_key=KEY, compression="zstd") as client:
        result = client.system_one(state=long, questions=asked, model="tiny")
    expected = model.judge(long, "The film is good.").probability
    assert result.nouls["good"].noul == pytest.approx(expected, abs=1e-5)


def test_system_one_of_json_and_errors(typesafe):
    from typesafe_sdk import Box, Noul, TypeSafeBadRequestError, TypeSafeNotFoundError

    asked = {"good": Noul(instructions={"task": "Is it good?"})}
    result = typesafe.system_one(state={"review": [TEXT, None, 3]}, questions=asked, model="tiny")
    assert result.model == "tiny"
    with pytest.raises(TypeSafeNotFoundError, match="is not served here"):
        typesafe.system_one(state="x", questions=asked, model="other")
    with pytest.raises(TypeSafeBadRequestError, match="no images"):
        typesafe.system_one(state="x", questions={"dog": Box(instructions="The dog")})
