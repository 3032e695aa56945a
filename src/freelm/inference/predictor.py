"""`FreeLM`: a model as users see it; questions in plain words, answers with probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from freelm.data.prompts import prompted_form
from freelm.errors import InputError
from freelm.inference.answers import Classification, Ranked, Score, Verdict
from freelm.inference.combine import expected_level, option_probabilities
from freelm.inference.engine import (
    DEFAULT_MAX_CONTEXT_TOKENS,
    DEFAULT_MAX_TOKENS,
    Judge,
    Judgement,
    Request,
)
from freelm.inference.generation import Sampling, generate_text
from freelm.inference.text_input import (
    check_claims,
    check_labels,
    check_list,
    check_text,
    fill_template,
)
from freelm.model.network import FreeLMNetwork
from freelm.model.saving import LoadedModel, ModelFacts, load_model

DEFAULT_TEMPLATE = "Here, the text is about {}."
RELEVANCE_CLAIM = "The text answers the question."

Labels = Sequence[str] | Mapping[str, str]
Text = str | Sequence[str]


class FreeLM:
    """A model that judges claims about texts and writes text.

    Make one with `FreeLM.from_pretrained`. Every method that takes a text also takes a list of
    texts and then returns a list of answers in the same order.
    """

    def __init__(self, model: LoadedModel, judge: Judge) -> None:
        self._model = model
        self._judge = judge

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        dtype: torch.dtype = torch.float32,
        prompt: str | None = None,
        max_context_tokens: int = DEFAULT_MAX_CONTEXT_TOKENS,
        max_tokens: int = DEFAULT_MAX_TOKENS,
    ) -> FreeLM:
        """Load a model.

        Args:
            name: Folder of a trained model, or an untrained base (`base/smollm2-135m`, a folder, a
                GGUF file, a Hub id), which is judged by a prompt.
            dtype: Type of the weights.
            prompt: For untrained bases: which of `freelm.data.prompts.PROMPTS`.
            max_context_tokens: Longer texts lose the end of their longest part, and the answer
                says so.
            max_tokens: Tokens computed at once; bounds memory.

        Raises:
            ModelError: If there is no such model or it is damaged.
        """
        model = load_model(str(name), dtype, prompt)
        judge = Judge(model, max_context_tokens=max_context_tokens, max_tokens=max_tokens)
        return cls(model, judge)

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
        model = replace(self._model, network=FreeLMNetwork(network.model, form).eval())
        limits = (self._judge.precision, self._judge.max_context_tokens, self._judge.max_tokens)
        return FreeLM(model, Judge(model, *limits))

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
                Verdict(c, float(p), judged.truncated)
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
        threshold: float | None = ...,
    ) -> Classification: ...
    @overload
    def classify(
        self,
        text: list[str],
        labels: Labels,
        template: str = ...,
        *,
        multi: bool = ...,
        threshold: float | None = ...,
    ) -> list[Classification]: ...
    def classify(
        self,
        text: Text,
        labels: Labels,
        template: str = DEFAULT_TEMPLATE,
        *,
        multi: bool = False,
        threshold: float | None = None,
    ) -> Any:
        """Which label fits a text?

        Args:
            text: A text or several.
            labels: Labels, or a mapping label -> description that goes into the template instead.
            template: Turns a label into a claim; holds one `{}`.
            multi: Labels do not exclude one another: each gets its own P(true), any number fits.
            threshold: The answer's `label` is None when the best label's own P(true) is below.

        Returns:
            `Classification`: with `multi=False` the probabilities add up to 1.

        Raises:
            InputError: If a text is empty, labels are missing or equal, or the template is wrong.
        """
        described = check_labels(labels)
        if threshold is not None and not 0 <= threshold <= 1:
            raise InputError(f"threshold must be between 0 and 1, not {threshold}")
        claims = tuple(fill_template(template, words) for words in described.values())
        answers = [
            _classification(tuple(described), judged, multi, threshold)
            for judged in self._ask(text, claims)
        ]
        return answers[0] if isinstance(text, str) else answers

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
        described = check_labels(levels)
        claims = _level_claims(question, described)
        answers = [_score(tuple(described), judged) for judged in self._ask(text, claims)]
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
        requests = [Request((asked, document), (RELEVANCE_CLAIM,)) for document in texts]
        judged = self._judge.judge(requests)
        ranked = [
            Ranked(i, document, float(answer.probabilities[0]))
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
                `{"labels": [...] or {...}, "template": "... {} ..."}` (template optional),
                `{"question": "...", "levels": [...] or {...}}`.

        Returns:
            Name -> `Verdict`, `Classification` or `Score`, in the order of the questions.

        Raises:
            InputError: If a question is of none of these forms (it is named).
        """
        text = check_text(state, "state")
        if not isinstance(questions, Mapping):
            kind = type(questions).__name__
            raise InputError(f"questions must be a mapping name -> question, not {kind}")
        plans = {name: _claims_of(name, question) for name, question in questions.items()}
        claims = tuple(dict.fromkeys(claim for plan in plans.values() for claim in plan))
        if not claims:
            raise InputError("no questions are given")
        judged = self._judge.judge([Request((text,), claims)])[0]
        margin = dict(zip(claims, judged.margins, strict=True))
        return {
            name: _answer(question, plans[name], margin, judged.truncated)
            for name, question in questions.items()
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
        return self._judge.judge([Request((t,), claims) for t in checked])


def _classification(
    labels: tuple[str, ...], judged: Judgement, multi: bool, threshold: float | None
) -> Classification:
    own = judged.probabilities
    shared = own if multi else option_probabilities(judged.margins)
    best = int(judged.margins.argmax())
    fits = threshold is None or own[best] >= threshold
    named = dict(zip(labels, map(float, shared), strict=True))
    label = labels[best] if fits else None
    return Classification(label, float(shared[best]), named, judged.truncated)


def _score(levels: tuple[str, ...], judged: Judgement) -> Score:
    probabilities = option_probabilities(judged.margins)
    named = dict(zip(levels, map(float, probabilities), strict=True))
    value = expected_level(probabilities, list(range(len(named))))
    return Score(value, levels[int(judged.margins.argmax())], named, judged.truncated)


def _level_claims(question: str, described: Mapping[str, str]) -> tuple[str, ...]:
    """A claim per level: the question and the level as its answer."""
    asked = check_text(question, "question").strip()
    ended = (w if w.endswith((".", "!", "?")) else f"{w}." for w in described.values())
    return tuple(f"{asked} {words}" for words in ended)


def _claims_of(name: str, question: Mapping[str, Any]) -> tuple[str, ...]:
    """The claims that a typed question is judged by."""
    try:
        return _form_claims(question)
    except InputError as error:
        raise InputError(f"question {name!r}: {error}") from None


def _form_claims(question: Mapping[str, Any]) -> tuple[str, ...]:
    if not isinstance(question, Mapping):
        raise InputError(f"must be a mapping, not {type(question).__name__}")
    match dict(question):
        case {"claim": str(claim), **rest} if not rest:
            return check_claims([claim])
        case {"labels": labels, **rest} if set(rest) <= {"template"}:
            template = rest.get("template", DEFAULT_TEMPLATE)
            return tuple(fill_template(template, w) for w in check_labels(labels).values())
        case {"question": str(asked), "levels": levels, **rest} if not rest:
            return _level_claims(asked, check_labels(levels))
    raise InputError(
        "give claim, or labels (and template), or question and levels; "
        f"not {', '.join(question) or 'nothing'}"
    )


def _answer(
    question: Mapping[str, Any],
    claims: tuple[str, ...],
    margin: Mapping[str, float],
    truncated: bool,
) -> Verdict | Classification | Score:
    judged = Judgement(np.array([margin[claim] for claim in claims]), truncated)
    if "claim" in question:
        return Verdict(claims[0], float(judged.probabilities[0]), truncated)
    if "labels" in question:
        return _classification(tuple(check_labels(question["labels"])), judged, False, None)
    return _score(tuple(check_labels(question["levels"])), judged)
