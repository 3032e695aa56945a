"""`FreeLM`: a model as users see it; questions in plain words, answers with probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from freelm.data.prompts import prompted_form
from freelm.errors import InputError
from freelm.generate import Sampling, generate_text
from freelm.judge.answers import Classification, Ranked, Score, Verdict
from freelm.judge.engine import (
    DEFAULT_MAX_CONTEXT_TOKENS,
    DEFAULT_MAX_TOKENS,
    Judge,
    Judgement,
    Request,
)
from freelm.judge.questions import (
    DEFAULT_TEMPLATE,
    Choice,
    Labels,
    Thresholds,
    choice,
    parse_questions,
    scale,
)
from freelm.judge.text_input import (
    LongTexts,
    check_claims,
    check_list,
    check_long_texts,
    check_text,
)
from freelm.model.compiling import compile_network
from freelm.model.device import find_device
from freelm.model.int8 import quantize_linear_layers
from freelm.model.loading import LoadedModel, load_model
from freelm.model.network import FreeLMNetwork
from freelm.model.precision import Dtype, weights_dtype
from freelm.model.saving import ModelFacts

RELEVANCE_CLAIM = "The text answers the question."

Text = str | Sequence[str]


class FreeLM:
    """A model that judges claims about texts and writes text.

    Make one with `FreeLM.from_pretrained`. Every method that takes a text also takes a list of
    texts and then returns a list of answers in the same order.
    """

    def __init__(
        self, model: LoadedModel, judge: Judge, long_texts: LongTexts = "truncate"
    ) -> None:
        self._model = model
        self._judge = judge
        self._long_texts = check_long_texts(long_texts)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        dtype: Dtype = "auto",
        device: str | None = None,
        prompt: str | None = None,
        long_texts: LongTexts = "truncate",
        max_context_tokens: int = DEFAULT_MAX_CONTEXT_TOKENS,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        context_cache_tokens: int = 0,
        compile: bool = False,
    ) -> FreeLM:
        """Load a model.

        Args:
            name: Folder of a trained model, or an untrained base (`base/smollm2-135m`, a folder, a
                GGUF file, a Hub id), which is judged by a prompt.
            dtype: Type of the weights and of what is computed; `auto` takes bf16 where the machine
                has matrix units for it, else fp32. `int8` rounds the linear layers to eight bits:
                often the fastest on a CPU, and the least exact (`freelm bench precision` says by
                how much).
            device: `cpu`, `cuda`, or one of several GPUs such as `cuda:1`; None takes a GPU if
                there is one.
            prompt: For untrained bases: which of `freelm.data.prompts.PROMPTS`.
            long_texts: What happens to texts longer than `max_context_tokens`: `truncate` cuts the
                end and the answer says so, `error` refuses them, `windows` reads them whole in
                overlapping windows and takes the mean of a claim's margins.
            max_context_tokens: Longer texts are too long.
            max_tokens: Tokens computed at once; bounds memory.
            context_cache_tokens: Texts asked about one at a time are kept, up to this many tokens
                together, so that further questions about them need not read them again.
            compile: Compile the model with `torch.compile`, for servers: loading takes a minute
                longer.

        Raises:
            ModelError: If there is no such model or device, it is damaged, or it cannot be compiled
                here.
            InputError: If an argument is out of range.
        """
        place = find_device(device)
        model = load_model(str(name), weights_dtype(dtype, place), prompt, place)
        if dtype == "int8":
            quantize_linear_layers(model.network.causal.base_model)
        judge = Judge(model, max_context_tokens, max_tokens, context_cache_tokens)
        loaded = cls(model, judge, long_texts)
        if compile:
            compile_network(model.network)
        return loaded

    @property
    def facts(self) -> ModelFacts:
        """What is known of the model: base, temperature, what it was trained on."""
        return self._model.facts

    @property
    def model(self) -> LoadedModel:
        """The loaded network and its facts."""
        return self._model

    def with_prompt(self, prompt: str) -> FreeLM:
        """The same untrained base, judged by another prompt.

        Raises:
            ModelError: If there is no such prompt.
        """
        network = self._model.network
        form = prompted_form(network.tokenizer, prompt)
        other = FreeLMNetwork(network.model, form).eval()
        other.compiled = network.compiled
        model = replace(self._model, network=other)
        judge = Judge(model, self._judge.max_context_tokens, self._judge.max_tokens)
        return FreeLM(model, judge, self._long_texts)

    # -- judging ---------------------------------------------------------------------------------

    def judge_requests(self, requests: Sequence[Request]) -> list[Judgement]:
        """Judge requests as they are; what evaluation and files are built on.

        Raises:
            InputError: If a claim does not fit the model's window.
        """
        return self._judge.judge(requests)

    @overload
    def judge(self, text: str, claim: str) -> Verdict: ...
    @overload
    def judge(self, text: str, claim: list[str]) -> list[Verdict]: ...
    @overload
    def judge(self, text: list[str], claim: str) -> list[Verdict]: ...
    @overload
    def judge(self, text: list[str], claim: list[str]) -> list[list[Verdict]]: ...
    def judge(self, text: Text, claim: Text) -> Any:
        """Is a claim true of a text?

        Args:
            text: A text or several.
            claim: A claim or several, each judged about each text.

        Returns:
            One `Verdict` per text and claim, nested as the arguments are.

        Raises:
            InputError: If a text or claim is empty, a claim is given twice, or one is too long.
        """
        claims = check_claims([claim] if isinstance(claim, str) else claim)
        rows = [
            [
                Verdict(c, float(p), judged.truncated, judged.windows)
                for c, p in zip(claims, judged.probabilities, strict=True)
            ]
            for judged in self._ask(text, claims)
        ]
        per_text = [row[0] for row in rows] if isinstance(claim, str) else rows
        return per_text[0] if isinstance(text, str) else per_text

    @overload
    def classify(
        self,
        text: str,
        labels: Labels,
        template: str = ...,
        *,
        multi: bool = ...,
        threshold: Thresholds | None = ...,
    ) -> Classification: ...
    @overload
    def classify(
        self,
        text: list[str],
        labels: Labels | Sequence[Labels],
        template: str = ...,
        *,
        multi: bool = ...,
        threshold: Thresholds | None = ...,
    ) -> list[Classification]: ...
    def classify(
        self,
        text: Text,
        labels: Labels | Sequence[Labels],
        template: str = DEFAULT_TEMPLATE,
        *,
        multi: bool = False,
        threshold: Thresholds | None = None,
    ) -> Any:
        """Which label fits a text?

        Args:
            text: A text or several.
            labels: Labels, or a mapping label -> description that goes into the template instead;
                or, for a list of texts, a list of such labels for each of them.
            template: Turns a label into a claim; holds one `{}`.
            multi: Labels do not exclude one another: each gets its own P(true), any number fits.
            threshold: A label can only be the answer if its own P(true) is at least this (one
                number, or label -> number); if none is, `label` is None. With `multi`, one half
                where nothing is given.

        Returns:
            `Classification`: with `multi=False` the probabilities add up to 1.

        Raises:
            InputError: If a text is empty, labels are missing or equal, or the template is wrong.
        """
        if _per_text(labels):
            return self._classify_each(text, labels, template, multi, threshold)
        question = choice(labels, template, multi=multi, threshold=threshold)
        answers = [question.answer(judged) for judged in self._ask(text, question.claims)]
        return answers[0] if isinstance(text, str) else answers

    def _classify_each(
        self, text: Text, labels: Any, template: str, multi: bool, threshold: Any
    ) -> list[Classification]:
        """Each text with labels of its own."""
        texts = check_list(text, "texts")
        if len(labels) != len(texts):
            raise InputError(f"{len(labels)} lists of labels are given for {len(texts)} texts")
        questions = _own_questions(labels, template, multi, threshold)
        requests = [
            self._request(check_text(t, f"text {i}"), question.claims)
            for i, (t, question) in enumerate(zip(texts, questions, strict=True))
        ]
        judged = self._judge.judge(requests)
        return [question.answer(one) for question, one in zip(questions, judged, strict=True)]

    @overload
    def score(self, text: str, question: str, levels: Labels) -> Score: ...
    @overload
    def score(self, text: list[str], question: str, levels: Labels) -> list[Score]: ...
    def score(self, text: Text, question: str, levels: Labels) -> Any:
        """How much? Which of some ordered levels answers a question about a text?

        Args:
            text: A text or several.
            question: What is asked, e.g. "How satisfied is the customer?"
            levels: Names of the levels from lowest to highest, or a mapping name -> description.

        Returns:
            `Score`; its value runs from 0 (lowest level) to the number of levels minus 1.

        Raises:
            InputError: If a text or the question is empty, or levels are missing or equal.
        """
        asked = scale(question, levels)
        answers = [asked.answer(judged) for judged in self._ask(text, asked.claims)]
        return answers[0] if isinstance(text, str) else answers

    def rank(self, query: str, documents: Sequence[str]) -> list[Ranked]:
        """Order documents by how likely they answer a query, the likeliest first.

        Raises:
            InputError: If the query or a document is empty, or there are no documents.
        """
        asked = check_text(query, "query")
        listed = check_list(documents, "documents")
        texts = [check_text(document, f"document {i}") for i, document in enumerate(listed)]
        if not texts:
            raise InputError("no documents are given")
        claims = (RELEVANCE_CLAIM,)
        requests = [Request((asked, document), claims, self._long_texts) for document in texts]
        judged = self._judge.judge(requests)
        ranked = [
            Ranked(i, document, float(answer.probabilities[0]), answer.truncated, answer.windows)
            for i, (document, answer) in enumerate(zip(texts, judged, strict=True))
        ]
        return sorted(ranked, key=lambda item: -item.probability)

    def decide(
        self, state: str, questions: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Verdict | Classification | Score]:
        """Answer several typed questions about one state, whose text is computed once.

        Args:
            state: The text that the questions are about.
            questions: Name -> one of
                `{"claim": "..."}`,
                `{"labels": [...] or {...}}`, with `template`, `multi` and `threshold` if wanted,
                `{"question": "...", "levels": [...] or {...}}`.

        Returns:
            Name -> `Verdict`, `Classification` or `Score`, in the order of the questions.

        Raises:
            InputError: If a question is of none of these forms (it is named).
        """
        text = check_text(state, "state")
        asked = parse_questions(questions)
        claims = tuple(dict.fromkeys(claim for q in asked.values() for claim in q.claims))
        judged = self._judge.judge([self._request(text, claims)])[0]
        place = {claim: i for i, claim in enumerate(claims)}
        return {
            name: question.answer(
                replace(judged, margins=judged.margins[[place[c] for c in question.claims]])
            )
            for name, question in asked.items()
        }

    # -- writing ---------------------------------------------------------------------------------

    def generate(
        self,
        prompt: str,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 0.95,
        seed: int = 0,
    ) -> str:
        """Continue a text.

        Args:
            prompt: How it begins.
            max_new_tokens: Tokens written at most.
            temperature: 0 takes the likeliest token each time; above that tokens are drawn.
            top_p: Only the likeliest tokens with this much probability together are drawn from.
            seed: Seed of the draws.

        Raises:
            InputError: If the prompt is empty or too long, or a number is out of range.
        """
        sampling = Sampling(max_new_tokens, temperature, top_p, seed)
        return generate_text(self._model.network, check_text(prompt, "prompt"), sampling)

    def _ask(self, text: Text, claims: tuple[str, ...]) -> list[Judgement]:
        texts = [text] if isinstance(text, str) else check_list(text, "texts")
        if not texts:
            raise InputError("no texts are given")
        one = len(texts) == 1
        checked = [check_text(t, "text" if one else f"text {i}") for i, t in enumerate(texts)]
        return self._judge.judge([self._request(t, claims) for t in checked])

    def _request(self, text: str, claims: tuple[str, ...]) -> Request:
        return Request((text,), claims, self._long_texts)


def _own_questions(labels: Any, template: str, multi: bool, threshold: Any) -> list[Choice]:
    """A question for each set of labels; thresholds of labels count where the label is."""
    named = threshold if isinstance(threshold, Mapping) else {}
    unknown = [name for name in named if not any(name in own for own in labels)]
    if unknown:
        raise InputError(f"threshold is given for {unknown[0]!r}, which is none of the labels")
    questions = []
    for i, own in enumerate(labels):
        least = {name: named[name] for name in own if name in named} if named else threshold
        try:
            questions.append(choice(own, template, multi=multi, threshold=least))
        except InputError as error:
            raise InputError(f"text {i}: {error}") from None
    return questions


def _per_text(labels: object) -> bool:
    """Whether there is a set of labels for each text, not one set for all."""
    return (
        isinstance(labels, Sequence)
        and bool(labels)
        and all(isinstance(own, list | tuple | Mapping) for own in labels)
    )
