"""`FreeLM`, the class that users import: questions in plain words, answers with probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from freelm.data.prompts import prompted_form
from freelm.errors import InputError
from freelm.generate import Sampling, generate_texts
from freelm.judge.answers import Answer, AnswerCheck, Check, Classification, Ranked, Score, Verdict
from freelm.judge.engine import DEFAULT_MAX_CONTEXT_TOKENS, DEFAULT_MAX_TOKENS, Judge
from freelm.judge.grounding import answer_question
from freelm.judge.questions import (
    Labels,
    Question,
    Thresholds,
    check,
    choice,
    distinct_claims,
    parse_questions,
    predicate,
    rank,
    score,
)
from freelm.judge.requests import Judgement, Request
from freelm.judge.validation import (
    LongTexts,
    check_claims,
    check_list,
    check_long_texts,
    check_text,
)
from freelm.model.compute.compiling import compile_network
from freelm.model.compute.device import find_device
from freelm.model.compute.int8 import quantize_linear_layers
from freelm.model.compute.precision import Dtype, weights_dtype
from freelm.model.loading import LoadedModel, load_model
from freelm.model.network import FreeLMNetwork
from freelm.model.saving import ModelFacts
from freelm.tasks.forms import DEFAULT_TEMPLATE

Text = str | Sequence[str]
"""A text or several: a list, NumPy array or pandas series of strings."""


class FreeLM:
    """A model that judges claims about texts and writes text.

    Load one with `FreeLM.from_pretrained`. A method that takes a text also takes several, as a
    list, NumPy array or pandas series, and then returns a list of answers in the same order; that
    is faster than one call per text.

    In fp32 an answer does not depend on the other texts of a call (to 1e-5). bf16 and int8 round:
    there P(true) moves with the other texts by up to about 0.01, and it differs from fp32's
    (`freelm bench precision` measures by how much).

    Example:
        >>> model = FreeLM.from_pretrained("freelm-135m")
        >>> model.judge("The soup was cold.", "The guest is satisfied.").is_true
        False
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
            name: A shipped model (`freelm-135m`), the folder of a trained model, or an untrained
                base (`base/smollm2-135m`, a folder, a GGUF file, a Hub id), which is judged by a
                prompt.
            dtype: Number type of weights and computation: `fp32`, `bf16`, `int8`, or `auto`, which
                chooses between fp32 and bf16 for this machine. `int8` rounds the linear layers to
                eight bits: often the fastest on a CPU, and the least accurate.
            device: `cpu`, `cuda`, or one of several GPUs such as `cuda:1`; None uses a GPU if
                there is one.
            prompt: For untrained bases: one of `freelm.data.prompts.PROMPTS`.
            long_texts: What to do with texts longer than `max_context_tokens`: `truncate` cuts the
                end, `error` raises, `windows` reads the whole text in overlapping windows and
                averages a claim's margins. `truncated` and `windows` of an answer report this.
            max_context_tokens: Tokens of a text that are read at once.
            max_tokens: Tokens computed at once; bounds memory.
            context_cache_tokens: Size, in tokens, of the cache of texts judged one per call;
                further questions about a cached text do not compute it again.
            compile: Compile the model with `torch.compile`. Loading takes a minute longer, then
                each call is faster; for servers and long files.

        Returns:
            The model, ready for questions.

        Raises:
            ModelError: If the model or device does not exist, the model is damaged, or it cannot
                be compiled here.
            InputError: If an argument is out of range.

        Example:
            >>> model = FreeLM.from_pretrained("freelm-135m", dtype="fp32", device="cpu")
        """
        target = find_device(device)
        model = load_model(str(name), weights_dtype(dtype, target), prompt, target)
        if dtype == "int8":
            quantize_linear_layers(model.network.causal.base_model)
        judge = Judge(model, max_context_tokens, max_tokens, context_cache_tokens)
        loaded = cls(model, judge, long_texts)
        if compile:
            compile_network(model.network)
        return loaded

    @property
    def facts(self) -> ModelFacts:
        """What is known about the model: base, temperatures, what it was trained on."""
        return self._model.facts

    @property
    def model(self) -> LoadedModel:
        """The network and its facts."""
        return self._model

    @property
    def engine(self) -> Judge:
        """The judge: tokenizes requests (`prepare`) and judges them (`judge`, `judge_prepared`)."""
        return self._judge

    def with_prompt(self, prompt: str) -> FreeLM:
        """Return the same untrained base with another prompt; the weights are shared.

        Args:
            prompt: One of `freelm.data.prompts.PROMPTS`.

        Returns:
            A second model; this one is unchanged.

        Raises:
            ModelError: If there is no such prompt.

        Example:
            >>> base = FreeLM.from_pretrained("base/smollm2-135m").with_prompt("yes-or-no")
        """
        network = self._model.network
        form = prompted_form(network.tokenizer, prompt)
        other = FreeLMNetwork(network.model, form).eval()
        other.compiled = network.compiled
        model = replace(self._model, network=other)
        judge = Judge(model, self._judge.max_context_tokens, self._judge.max_tokens)
        return FreeLM(model, judge, self._long_texts)

    # -- judging ---------------------------------------------------------------------------------

    @overload
    def judge(self, text: str, claim: str) -> Verdict: ...
    @overload
    def judge(self, text: str, claim: list[str]) -> list[Verdict]: ...
    @overload
    def judge(self, text: list[str], claim: str) -> list[Verdict]: ...
    @overload
    def judge(self, text: list[str], claim: list[str]) -> list[list[Verdict]]: ...
    def judge(self, text: Text, claim: Text) -> Verdict | list[Verdict] | list[list[Verdict]]:
        """Judge whether a claim about a text is true.

        Args:
            text: A text, or several.
            claim: A claim, or several; each is judged about each text. A claim that is a question
                is judged with the answer "Yes.": "Is the guest angry? Yes."

        Returns:
            One `Verdict` per text and claim, nested like the arguments: a list of lists for several
            texts and several claims.

        Raises:
            InputError: If a text or claim is empty or not a string, a claim is given twice, or a
                claim does not fit into the model's window.

        Example:
            >>> round(model.judge("The soup was cold.", "The guest is satisfied.").probability, 2)
            0.21
        """
        single = isinstance(claim, str)
        questions = [predicate(c) for c in check_claims([claim] if single else claim)]
        rows = [
            [question.answer(judgement) for question in questions]
            for judgement in self._judge_texts(text, distinct_claims(questions))
        ]
        per_text: list[Any] = [row[0] for row in rows] if single else rows
        return _like(text, per_text)

    @overload
    def check(self, text: str, claim: str) -> Check: ...
    @overload
    def check(self, text: list[str], claim: str) -> list[Check]: ...
    def check(self, text: Text, claim: str) -> Check | list[Check]:
        """Check whether a text supports a claim, contradicts it, or does not say.

        Args:
            text: A text, or several.
            claim: The claim.

        Returns:
            A `Check` per text; its `result` is `supported`, `contradicted` or `not_stated`.

        Raises:
            InputError: If a text or the claim is empty or not a string, or the claim does not fit
                into the model's window.

        Example:
            >>> model.check("The museum opened in 1911.", "The museum opened in 1920.").result
            'contradicted'
        """
        return self._answer(text, check(claim))

    def check_answer(self, answer: str, sources: Text) -> AnswerCheck:
        """Check each sentence of an answer against its sources, for example an LLM's answer.

        Sources are split into passages of whole sentences. A passage that supports a sentence
        decides about it; if none does, the passage that says most about it decides.

        Args:
            answer: One sentence or several.
            sources: The text that the answer is based on, or several.

        Returns:
            An `AnswerCheck`: one result per sentence, each with its passage, and one for all.

        Raises:
            InputError: If the answer or a source is empty or not a string, there are no sources,
                or a sentence does not fit into the model's window.

        Example:
            >>> source = "The museum opened in 1911. It is closed on Mondays."
            >>> found = model.check_answer("It opened in 1911. Entry is free.", source)
            >>> [sentence.sentence for sentence in found.sentences]
            ['It opened in 1911.', 'Entry is free.']
        """
        question = answer_question(answer, sources)
        return question.answer(self._judge.judge(question.requests(self._long_texts)))

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
    ) -> Classification | list[Classification]:
        """Find the label that fits a text.

        Each label becomes a claim. P(true) of that claim is the label's verdict. A label fits if
        its verdict is at least its threshold, with and without `multi`.

        Args:
            text: A text, or several.
            labels: Labels, or a mapping label -> description, whose descriptions fill the template.
                For several texts also a list with labels for each text.
            template: Turns a label into a claim; contains one `{}`.
            multi: False: exactly one label is right, and the probabilities sum to 1. True: any
                number of labels can be right, and a label's probability is its verdict.
            threshold: Verdict from which a label fits: one number, or label -> number. Labels
                without one always fit; with `multi`, from 0.5. If no label fits, `label` is None.

        Returns:
            A `Classification` per text. Its `verdicts` are the numbers that thresholds are compared
            with.

        Raises:
            InputError: If a text is empty or not a string, labels are missing or equal, the
                template is invalid, or a threshold is not between 0 and 1.

        Example:
            >>> model.classify("Rain is on its way.", ["weather", "sport", "money"]).label
            'weather'
        """
        if _is_per_text(labels):
            return self._classify_each(text, labels, template, multi, threshold)
        return self._answer(text, choice(labels, template, multi=multi, threshold=threshold))

    @overload
    def score(self, text: str, question: str, levels: Labels) -> Score: ...
    @overload
    def score(self, text: list[str], question: str, levels: Labels) -> list[Score]: ...
    def score(self, text: Text, question: str, levels: Labels) -> Score | list[Score]:
        """Answer a question of degree: which of some ordered levels?

        Args:
            text: A text, or several.
            question: For example "How satisfied is the customer?"
            levels: Names of the levels from lowest to highest, or a mapping name -> description.

        Returns:
            A `Score` per text; its `value` runs from 0 (lowest level) to the number of levels
            minus 1.

        Raises:
            InputError: If a text or the question is empty or not a string, or levels are missing or
                equal.

        Example:
            >>> levels = ["unhappy", "neutral", "happy"]
            >>> model.score("Never again.", "How happy is the guest?", levels).level
            'unhappy'
        """
        return self._answer(text, score(question, levels))

    def rank(self, query: str, documents: Sequence[str]) -> list[Ranked]:
        """Order documents by how likely they answer a query.

        Args:
            query: A question.
            documents: The documents.

        Returns:
            One `Ranked` per document, the likeliest first; ties keep the given order.

        Raises:
            InputError: If the query or a document is empty or not a string, or there are no
                documents.

        Example:
            >>> documents = ["Bring a coat.", "It opens at nine in the morning."]
            >>> model.rank("When does it open?", documents)[0].index
            1
        """
        question = rank(query, documents)
        return question.answer(self._judge.judge(question.requests(self._long_texts)))

    @overload
    def decide(
        self, text: str, questions: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Answer]: ...
    @overload
    def decide(
        self, text: list[str], questions: Mapping[str, Mapping[str, Any]]
    ) -> list[dict[str, Answer]]: ...
    def decide(
        self, text: Text, questions: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Answer] | list[dict[str, Answer]]:
        """Answer several questions about a text; the text is computed only once.

        Args:
            text: A text, or several.
            questions: Name -> one of
                `{"claim": "..."}`,
                `{"labels": [...] or {...}}`, optionally with `template`, `multi`, `threshold`,
                `{"question": "...", "levels": [...] or {...}}`,
                `{"check": "..."}`.

        Returns:
            Per text a mapping name -> `Verdict`, `Classification`, `Score` or `Check`, in the order
            of the questions.

        Raises:
            InputError: If a text is empty or not a string, or a question is invalid (the message
                names it).

        Example:
            >>> answers = model.decide(
            ...     "Rain is on its way.",
            ...     {
            ...         "topic": {"labels": ["weather", "sport", "money"]},
            ...         "dry": {"claim": "It will stay dry."},
            ...     },
            ... )
            >>> answers["topic"].label
            'weather'
        """
        parsed = parse_questions(questions)
        judgements = self._judge_texts(text, distinct_claims(parsed.values()))
        answers = [
            {name: question.answer(judgement) for name, question in parsed.items()}
            for judgement in judgements
        ]
        return _like(text, answers)

    def judge_requests(self, requests: Sequence[Request]) -> list[Judgement]:
        """Judge requests without wording them as questions; evaluation and files build on this.

        Args:
            requests: Contexts with their claims.

        Returns:
            One `Judgement` per request: margins and probabilities of its claims.

        Raises:
            InputError: If a claim does not fit into the model's window, or a context is too long
                and its request forbids cutting it.

        Example:
            >>> from freelm.judge.requests import Request
            >>> request = Request(("It rains.",), ("It is wet.",))
            >>> model.judge_requests([request])[0].probabilities.round(2)
            array([0.94])
        """
        return self._judge.judge(requests)

    # -- writing ---------------------------------------------------------------------------------

    @overload
    def generate(
        self,
        prompt: str,
        max_new_tokens: int = ...,
        temperature: float = ...,
        top_p: float = ...,
        seed: int = ...,
    ) -> str: ...
    @overload
    def generate(
        self,
        prompt: list[str],
        max_new_tokens: int = ...,
        temperature: float = ...,
        top_p: float = ...,
        seed: int = ...,
    ) -> list[str]: ...
    def generate(
        self,
        prompt: Text,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 0.95,
        seed: int = 0,
    ) -> str | list[str]:
        """Continue a text.

        Args:
            prompt: The beginning of the text, or several.
            max_new_tokens: Maximum number of tokens to write.
            temperature: 0 always takes the likeliest token. Otherwise tokens are sampled from
                softmax(logits / temperature).
            top_p: Sample only from the likeliest tokens that together have this probability; 1
                samples from all.
            seed: Seed of the sampling; PyTorch's global random state is not used. Each prompt
                starts from the same seed.

        Returns:
            The continuation without the prompt, one per prompt.

        Raises:
            InputError: If a prompt is empty, not a string or fills the model's window, or a number
                is out of range.

        Example:
            >>> model.generate("The river", max_new_tokens=6)
            ' was a source of great beauty'
        """
        sampling = Sampling(max_new_tokens, temperature, top_p, seed)
        prompts = _check_texts(prompt, "prompt")
        return _like(prompt, generate_texts(self._model.network, prompts, sampling))

    # -- internals -------------------------------------------------------------------------------

    def _answer(self, text: Text, question: Question) -> Any:
        judgements = self._judge_texts(text, question.claims)
        return _like(text, [question.answer(judgement) for judgement in judgements])

    def _judge_texts(self, text: Text, claims: tuple[str, ...]) -> list[Judgement]:
        return self._judge.judge(
            [Request((one,), claims, self._long_texts) for one in _check_texts(text, "text")]
        )

    def _classify_each(
        self, text: Text, labels: Any, template: str, multi: bool, threshold: Any
    ) -> list[Classification]:
        """Classify each text with its own labels."""
        texts = _check_texts(check_list(text, "texts"), "text")
        if len(labels) != len(texts):
            raise InputError(f"there are {len(labels)} lists of labels for {len(texts)} texts")
        questions = _questions_per_text(labels, template, multi, threshold)
        judgements = self._judge.judge(
            [
                Request((one,), question.claims, self._long_texts)
                for one, question in zip(texts, questions, strict=True)
            ]
        )
        return [q.answer(found) for q, found in zip(questions, judgements, strict=True)]


def _check_texts(text: object, what: str) -> list[str]:
    """A text or several as a list of plain strings.

    Raises:
        InputError: If there are no texts, or one cannot be judged (the message has its index).
    """
    texts = [text] if isinstance(text, str) else check_list(text, f"{what}s")
    if not texts:
        raise InputError(f"no {what}s are given")
    single = len(texts) == 1
    return [check_text(one, what if single else f"{what} {i}") for i, one in enumerate(texts)]


def _like(text: Text, answers: list[Any]) -> Any:
    """One answer for a single text, the list for several."""
    return answers[0] if isinstance(text, str) else answers


def _questions_per_text(labels: Any, template: str, multi: bool, threshold: Any) -> list[Any]:
    """A choice for each set of labels; a threshold by label applies wherever the label occurs."""
    by_label = threshold if isinstance(threshold, Mapping) else {}
    unknown = [name for name in by_label if not any(name in own for own in labels)]
    if unknown:
        raise InputError(f"threshold is given for {unknown[0]!r}, which is not one of the labels")
    questions = []
    for i, own in enumerate(labels):
        own_threshold = (
            {name: by_label[name] for name in own if name in by_label} if by_label else threshold
        )
        try:
            questions.append(choice(own, template, multi=multi, threshold=own_threshold))
        except InputError as error:
            raise InputError(f"text {i}: {error}") from None
    return questions


def _is_per_text(labels: object) -> bool:
    """Whether there are labels for each text, not one set for all."""
    return (
        isinstance(labels, Sequence)
        and bool(labels)
        and all(isinstance(own, list | tuple | Mapping) for own in labels)
    )
