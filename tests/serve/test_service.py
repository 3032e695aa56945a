"""Every interface over an engine whose verdicts are known: what is asked comes to its claims, and
the answers to the margins of those claims."""

import json

import pytest
from pydantic import ValidationError

from freelm.generate import TextPiece
from freelm.serve.backend import ModelBackend
from freelm.serve.http.errors import ApiError
from freelm.serve.protocols.completions import CompletionRequest
from freelm.serve.protocols.openai_decisions import DecisionRequest
from freelm.serve.protocols.systemone import SystemOneRequest
from tiny_serve import OracleBackend, p, shares

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


def decision(*questions, **more):
    return DecisionRequest.model_validate(
        {"model": "tiny", "input": "a text", "questions": list(questions), **more}
    )


# -- /v1/decisions ---------------------------------------------------------------------------------

TONE = {
    "type": "choice",
    "name": "tone",
    "instructions": "What is the tone?",
    "choices": [
        {"value": "calm"},
        {"value": True, "description": "angry"},
        {"value": False},
        {"value": "true"},
    ],
}
TONES = ["calm.", "angry.", "no.", "true."]


async def test_a_predicate_is_its_own_probability(service):
    answer = await service().post(
        "/v1/decisions",
        decision(
            {"type": "predicate", "instructions": "It rains."},
            {"type": "predicate", "instructions": "Is it late?", "name": "late"},
        ),
    )
    assert answer.model == "tiny"
    first, second = answer.answers
    assert (first.name, second.name) == (None, "late")
    assert first.probability == pytest.approx(p("a text", "It rains."))
    assert second.probability == pytest.approx(p("a text", "Is it late? Yes."))


async def test_a_choice_keeps_order_and_types(service):
    [answer] = (await service().post("/v1/decisions", decision(TONE))).answers
    expected = shares("a text", *(f"What is the tone? {words}" for words in TONES))
    assert [share.value for share in answer.probabilities] == ["calm", True, False, "true"]
    assert [share.probability for share in answer.probabilities] == pytest.approx(expected)
    assert sum(share.probability for share in answer.probabilities) == pytest.approx(1)
    best = max(range(4), key=expected.__getitem__)
    assert answer.choice == TONE["choices"][best]["value"]
    assert type(answer.choice) is type(TONE["choices"][best]["value"])
    assert answer.confidence == pytest.approx(expected[best])


async def test_a_score_is_the_expected_level(service):
    levels = [{"label": "low"}, {"label": "mid", "description": "so so"}, {"label": "high"}]
    question = {"type": "score", "instructions": "How good?", "levels": levels}
    [answer] = (await service().post("/v1/decisions", decision(question))).answers
    expected = shares("a text", "How good? low.", "How good? so so.", "How good? high.")
    assert [(s.label, s.value) for s in answer.probabilities] == [
        ("low", 0),
        ("mid", 1),
        ("high", 2),
    ]
    assert answer.score == pytest.approx(expected[1] + 2 * expected[2])
    assert answer.confidence == pytest.approx(max(expected))


async def test_one_text_is_judged_once_for_all_questions(service):
    backend = OracleBackend()
    asked = decision(SAY, TONE, SAY)
    answer = await service(backend=backend).post("/v1/decisions", asked)
    [[unit]] = backend.batches
    assert len(unit.claims) == 5
    assert answer.usage.input_tokens == answer.usage.total_tokens == 2 + 2 + 4 * 5


async def test_what_was_judged_is_said_on_request(service):
    asked = decision(TONE, freelm={"propositions": True})
    answer = await service().post("/v1/decisions", asked)
    [text] = answer.freelm.propositions
    assert text.context == ["a text"]
    assert [claim.claim for claim in text.claims] == [f"What is the tone? {t}" for t in TONES]
    for claim in text.claims:
        assert claim.probability == pytest.approx(p("a text", claim.claim))
    assert answer.freelm.seconds > 0
    assert (await service().post("/v1/decisions", decision(TONE))).freelm.propositions is None


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([{"role": "user", "content": "Hello"}], "Hello"),
        ([{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}], "Hi"),
        (
            [{"role": "user", "content": [{"type": "input_json", "data": {"a": [1, "é"]}}]}],
            '{"a": [1, "é"]}',
        ),
        (
            [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hi", "type": "message"},
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            ],
            "system: Be kind.\nuser: Hi\nassistant: No.",
        ),
        (
            [
                {"type": "function_call", "call_id": "1", "name": "find", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": "found"},
                {"type": "custom_tool_call", "call_id": "1", "name": "dig", "input": "here"},
                {
                    "type": "custom_tool_call_output",
                    "call_id": "1",
                    "output": [{"type": "input_text", "text": "gold"}],
                },
            ],
            "call: find {}\nresult: found\ncall: dig here\nresult: gold",
        ),
    ],
)
async def test_every_form_of_input_is_read_as_text(service, given, text):
    asked = decision({"type": "predicate", "instructions": "It rains."}, input=given)
    [answer] = (await service().post("/v1/decisions", asked)).answers
    assert answer.probability == pytest.approx(p(text, "It rains."))


PICTURE = {"type": "input_image", "image_url": "file:///etc/passwd"}
OUTPUT = {"type": "function_call_output", "call_id": "2", "output": "x"}
SAY = {"type": "predicate", "instructions": "It rains."}
BASE = {"model": "tiny", "input": "a text", "questions": [SAY]}


@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        ({"model": "other"}, 404, "model_not_found", "model"),
        ({"model": "/etc/passwd"}, 404, "model_not_found", "model"),
        ({"input": " "}, 400, "invalid_value", "input"),
        (
            {"input": [{"role": "user", "content": [PICTURE]}]},
            400,
            "unsupported_content",
            "input.0.content.0",
        ),
        ({"input": [OUTPUT]}, 400, "unknown_call", "input.0.call_id"),
        (
            {"questions": [{**SAY, "instructions": ""}]},
            400,
            "invalid_value",
            "questions.0.instructions",
        ),
        (
            {"questions": [SAY, {**TONE, "choices": [{"value": "a"}, {"value": "a"}]}]},
            400,
            "duplicate_option",
            "questions.1.choices",
        ),
        ({"questions": [SAY] * 4}, 400, "limit_exceeded", "questions"),
        (
            {"questions": [{**TONE, "choices": [{"value": f"{i}"} for i in range(6)]}]},
            400,
            "limit_exceeded",
            "questions.0.choices",
        ),
        (
            {
                "questions": [
                    {
                        "type": "score",
                        "instructions": "?",
                        "levels": [{"label": f"{i}"} for i in range(5)],
                    }
                ]
            },
            400,
            "limit_exceeded",
            "questions.0.levels",
        ),
        ({"questions": [TONE, TONE, TONE]}, 400, "limit_exceeded", "questions"),
    ],
)
async def test_what_cannot_be_decided_is_refused_by_its_place(service, change, status, code, param):
    few = {"max_questions": 3, "max_options": 5, "max_levels": 4, "max_claims": 11}
    one = service(**few)
    with pytest.raises(ApiError) as refused:
        await one.post("/v1/decisions", DecisionRequest.model_validate({**BASE, **change}))
    problem = refused.value
    assert (problem.status, problem.code, problem.param) == (status, code, param)
    if code == "limit_exceeded":
        assert any(name in problem.message for name in few)
    await one.post("/v1/decisions", decision(SAY))


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"type": "predicat", "instructions": "x"},
        {**SAY, "instructions": None},
        {**SAY, "instructions": 3},
        {**SAY, "more": 1},
        {**TONE, "choices": [{"value": "one"}]},
        {**TONE, "choices": [{"value": 1}, {"value": 2}]},
        {**TONE, "choices": "ab"},
        {"type": "score", "instructions": "x", "levels": []},
    ],
)
def test_questions_of_another_form_are_refused(question):
    with pytest.raises(ValidationError):
        decision(question)


# -- /v1/systemone ---------------------------------------------------------------------------------


def system_one(questions, state="a text", **more):
    return SystemOneRequest.model_validate(
        {"model": "tiny", "state": state, "questions": questions, **more}
    )


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ({"instructions": "It rains."}, lambda: p("a text", "It rains.")),
        ({"instructions": "Does it rain?"}, lambda: p("a text", "Does it rain? Yes.")),
        (
            {"instructions": "Rain?", "criteria": {"true": "wet", "false": "dry"}},
            lambda: shares("a text", "Rain? wet.", "Rain? dry.")[0],
        ),
        (
            {"instructions": "Rain?", "criteria": {"true": "wet"}},
            lambda: p("a text", "Rain? wet."),
        ),
        (
            {"instructions": "Rain?", "criteria": {"false": "dry", "true": None}},
            lambda: 1 - p("a text", "Rain? dry."),
        ),
        ({"criteria": {"true": "It is wet."}}, lambda: p("a text", "It is wet.")),
        ({"instructions": {"task": "rain"}}, lambda: p("a text", '{"task": "rain"}')),
    ],
)
async def test_a_noul(service, question, expected):
    asked = system_one({"rain": {"type": "noul", **question}})
    answer = (await service().post("/v1/systemone", asked)).answers["rain"]
    assert answer.noul == pytest.approx(expected())


async def test_a_choice_by_names_and_descriptions(service):
    question = {
        "type": "choice",
        "instructions": "Tone?",
        "criteria": {"calm": None, "angry": "An upset message"},
    }
    answer = (await service().post("/v1/systemone", system_one({"tone": question}))).answers["tone"]
    expected = shares("a text", "Tone? calm.", "Tone? An upset message.")
    assert list(answer.probabilities) == ["calm", "angry"]
    assert list(answer.probabilities.values()) == pytest.approx(expected)
    assert answer.choice == ["calm", "angry"][expected.index(max(expected))]
    assert answer.confidence == pytest.approx(max(expected))


async def test_a_score_has_its_legend(service):
    levels = ["Can wait", {"when": "week"}, "Today"]
    question = {"type": "score", "instructions": "How urgent?", "criteria": levels}
    answer = (await service().post("/v1/systemone", system_one({"urgent": question}))).answers[
        "urgent"
    ]
    expected = shares(
        "a text", "How urgent? Can wait.", 'How urgent? {"when": "week"}.', "How urgent? Today."
    )
    assert answer.legend == {"0": "Can wait", "1": {"when": "week"}, "2": "Today"}
    assert list(answer.probabilities.values()) == pytest.approx(expected)
    assert answer.score == pytest.approx(expected[1] + 2 * expected[2])


async def test_a_state_may_be_json(service):
    asked = system_one({"x": {"type": "noul", "instructions": "It rains."}}, {"sky": "grey"})
    answer = (await service().post("/v1/systemone", asked)).answers["x"]
    assert answer.noul == pytest.approx(p('{"sky": "grey"}', "It rains."))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"questions": {"x": {"type": "noul"}}}, "invalid_value"),
        ({"questions": {"x": {"type": "noul", "criteria": {}}}}, "invalid_value"),
        ({"questions": {"x": {"type": "box", "instructions": "dog"}}}, "unsupported_content"),
        ({"assets": {"a": {"type": "image"}}}, "unsupported_content"),
        ({"state": ""}, "invalid_value"),
        ({"model": "jev-latest"}, "model_not_found"),
    ],
)
async def test_what_a_state_cannot_be_asked_is_refused(service, change, code):
    questions = {"x": {"type": "noul", "instructions": "It rains."}}
    body = {"model": "tiny", "state": "a text", "questions": questions, **change}
    with pytest.raises(ApiError) as refused:
        await service().post("/v1/systemone", SystemOneRequest.model_validate(body))
    assert refused.value.code == code


async def test_a_model_goes_by_its_other_names(service):
    one = service(names=("tiny", "jev-latest"))
    asked = system_one({"x": {"type": "noul", "instructions": "It rains."}}, model="jev-latest")
    assert (await one.post("/v1/systemone", asked)).model == "tiny"


# -- /v1/completions -------------------------------------------------------------------------------


class Letters:
    """Writes one letter a step, as many as may be; ends with "stop" at an even seed."""

    def __init__(self, request):
        self.request = request
        self.count = 0
        self.num_prompt_tokens = [len(request.prompt)]

    def step(self):
        sampling = self.request.sampling
        self.count += 1
        last = self.count >= sampling.max_new_tokens
        reason = ("length" if sampling.seed % 2 else "stop") if last else None
        return [
            (0, TextPiece(self.request.prompt[0], reason, len(self.request.prompt), self.count))
        ]


async def test_completions_come_in_order_with_usage(service):
    asked = CompletionRequest(
        model="tiny", prompt=["ab", "xyz"], max_tokens=3, n=2, seed=6, temperature=0.0
    )
    answer = await service(Letters).post("/v1/completions", asked)
    found = [(c.index, c.text, c.finish_reason) for c in answer.choices]
    assert found == [
        (0, "aaa", "stop"),
        (1, "aaa", "length"),
        (2, "xxx", "stop"),
        (3, "xxx", "length"),
    ]
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (5, 12, 17)


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_stream_holds_the_same_text(service, wanted):
    asked = CompletionRequest(
        model="tiny", prompt="ab", max_tokens=3, stream=True,
        stream_options={"include_usage": wanted},
    )  # fmt: skip
    events = [event async for event in service(Letters).stream("/v1/completions", asked)]
    assert events[-1] == b"data: [DONE]\n\n"
    assert all(event.startswith(b"data: ") and event.endswith(b"\n\n") for event in events)
    objects = [json.loads(event[6:]) for event in events[:-1]]
    assert "".join(c["text"] for o in objects for c in o["choices"]) == "aaa"
    assert len({o["id"] for o in objects}) == 1
    assert [o["usage"] is not None for o in objects if not o["choices"]] == [True] * wanted


async def test_what_cannot_begin_is_refused_before_the_stream(service):
    asked = CompletionRequest(model="tiny", prompt="", stream=True)
    with pytest.raises(ApiError, match="is empty"):
        await anext(service(Letters).stream("/v1/completions", asked))


async def test_what_goes_wrong_in_a_stream_is_its_last_event(service):
    class Breaking(Letters):
        def step(self):
            if self.count:
                raise ValueError("secret words")
            return super().step()

    asked = CompletionRequest(model="tiny", prompt="ab", stream=True)
    events = [event async for event in service(Breaking).stream("/v1/completions", asked)]
    assert b'"internal_error"' in events[1]
    assert b"secret" not in b"".join(events)
    assert events[2:] == [b"data: [DONE]\n\n"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"n": 5}, "n"),
        ({"max_tokens": 101}, "max_tokens"),
        ({"prompt": ["a"] * 4}, "prompt"),
        ({"prompt": ["a", "x" * 641]}, "prompt.1"),
        ({"stop": list("abcde")}, "stop"),
        ({"stop": ""}, "stop"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": 0}, "logprobs"),
        ({"suffix": ""}, "suffix"),
        ({"logit_bias": {"5": 1.0}}, "logit_bias"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"temperature": 0.0001}, "temperature"),
        ({"model": "gpt"}, "model"),
    ],
)
async def test_what_cannot_be_written_is_refused_by_its_name(service, change, param):
    one = service(Letters, max_n=4, max_tokens=100, max_prompts=3, max_prompt_tokens=10)
    asked = CompletionRequest.model_validate({"model": "tiny", "prompt": "a", **change})
    with pytest.raises(ApiError) as refused:
        await one.post("/v1/completions", asked)
    assert refused.value.param == param


def test_options_that_change_nothing_are_let_in():
    CompletionRequest(
        model="tiny", prompt="a", best_of=1, frequency_penalty=0.0, presence_penalty=0, user="u"
    )


# -- special words ---------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["[sep] [cls] <|true|>", "{} {0} {x.__class__} %s", "\x00\u202e"])
async def test_special_words_are_words(service, model, words):
    asked = decision(
        {"type": "predicate", "instructions": words},
        {**TONE, "instructions": words},
        input=words,
    )
    answer = await service(backend=ModelBackend(model)).post("/v1/decisions", asked)
    assert answer.answers[0].probability == pytest.approx(
        model.judge(words, words).probability, abs=1e-5
    )
