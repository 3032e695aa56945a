"""What the routes do: a request of some interface in, its answer out."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from freelm.judge.requests import Request
from freelm.serve.batching import Engine
from freelm.serve.claims import unknown_model
from freelm.serve.http.errors import LAST_EVENT, ApiError
from freelm.serve.judged import Judged
from freelm.serve.protocols import completions, openai_decisions, systemone, vllm
from freelm.serve.protocols.base import FreeLMInfo, FreeLMOptions, report
from freelm.serve.settings import Settings


class Service:
    """Answers requests of all interfaces with one engine.

    Every method raises `ApiError` for what cannot be answered.

    Args:
        engine: A started engine.
        settings: Names and limits.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.limits = settings.limits
        self.name = settings.names[0]

    async def decisions(self, asked: openai_decisions.DecisionRequest) -> openai_decisions.Decision:
        """Answer questions about an input."""
        work = _Work(self, asked.model, asked.freelm)
        request, claims = openai_decisions.decision_claims(asked, self.limits)
        judged, told = await work.judge([request], ["input"])
        tokens = judged[0].tokens
        return openai_decisions.Decision(
            model=self.name,
            answers=openai_decisions.decide(asked, claims, judged[0]),
            usage=openai_decisions.Usage(input_tokens=tokens, total_tokens=tokens),
            freelm=told,
        )

    async def system_one(self, asked: systemone.SystemOneRequest) -> systemone.SystemOneResponse:
        """Answer named questions about a state."""
        work = _Work(self, asked.model, asked.freelm)
        request, claims = systemone.system_one_claims(asked, self.limits)
        judged, told = await work.judge([request], ["state"])
        return systemone.SystemOneResponse(
            model=self.name,
            answers=systemone.answer_system_one(asked, claims, judged[0]),
            usage=systemone.Usage(input_tokens=judged[0].tokens),
            freelm=told,
        )

    async def rerank(self, asked: vllm.RerankRequest) -> vllm.RerankResponse:
        """Order documents by how likely they answer a query."""
        work = _Work(self, asked.model, asked.freelm, asked.checked_truncate())
        requests = vllm.rerank_requests(asked, self.limits)
        judged, told = await work.judge(requests, vllm.places("documents", asked.documents))
        return vllm.RerankResponse(
            model=self.name,
            results=vllm.rank(asked, judged),
            usage=vllm.usage(judged),
            freelm=told,
        )

    async def score(self, asked: vllm.ScoreRequest) -> vllm.ScoreResponse:
        """Say how likely each second text answers its first."""
        work = _Work(self, asked.model, asked.freelm, asked.checked_truncate())
        requests, second = vllm.score_requests(asked, self.limits), asked.pair[1]
        judged, told = await work.judge(requests, vllm.places(second, getattr(asked, second)))
        return vllm.ScoreResponse(
            model=self.name, data=vllm.pair_scores(judged), usage=vllm.usage(judged), freelm=told
        )

    async def classify(self, asked: vllm.ClassifyRequest) -> vllm.ClassifyResponse:
        """Classify texts."""
        work = _Work(self, asked.model, asked.freelm, asked.checked_truncate())
        labels = asked.labels or list(self.settings.labels)
        requests, claims = vllm.classify_requests(asked, labels, self.limits)
        judged, told = await work.judge(requests, vllm.places("input", asked.input))
        return vllm.ClassifyResponse(
            model=self.name,
            data=vllm.text_classes(labels, claims, judged),
            usage=vllm.usage(judged),
            freelm=told,
        )

    async def complete(self, asked: completions.CompletionRequest) -> completions.Completion:
        """Continue texts."""
        texts: dict[int, list[completions.CompletionChoice]] = {}
        async with aclosing(self.pieces(asked)) as pieces:
            async for piece in pieces:
                for choice in piece.choices:
                    texts.setdefault(choice.index, []).append(choice)
                last = piece
        choices = [
            completions.CompletionChoice(
                index=i,
                text="".join(part.text for part in texts[i]),
                finish_reason=texts[i][-1].finish_reason,
            )
            for i in sorted(texts)
        ]
        return last.model_copy(update={"choices": choices})

    async def pieces(
        self, asked: completions.CompletionRequest
    ) -> AsyncGenerator[completions.Completion, None]:
        """Continue texts piece by piece; the last piece has no text but the usage."""
        self.check_model(asked.model)
        orders = completions.completion_orders(asked, self.limits)
        whole = completions.Completion(model=self.name, choices=[])
        read, written = [0] * len(orders), [0] * len(orders)
        async with aclosing(self.engine.write(orders)) as found:
            async for index, piece in found:
                read[index], written[index] = piece.prompt_tokens, piece.written_tokens
                choice = completions.CompletionChoice(
                    index=index, text=piece.text, finish_reason=piece.finish
                )
                if piece.text or piece.finish:
                    yield whole.model_copy(update={"choices": [choice]})
        usage = completions.completion_usage(read[:: asked.n or 1], written)
        yield whole.model_copy(update={"usage": usage})

    async def stream(self, asked: completions.CompletionRequest) -> AsyncGenerator[bytes, None]:
        """Continue texts as server-sent events."""
        wanted = asked.stream_options is not None and asked.stream_options.include_usage
        started = False
        try:
            async with aclosing(self.pieces(asked)) as pieces:
                async for piece in pieces:
                    if piece.choices or wanted:
                        started = True
                        yield b"data: " + piece.model_dump_json().encode() + b"\n\n"
        except ApiError as problem:
            if not started:
                raise
            yield problem.event
        yield LAST_EVENT

    def check_model(self, name: str | None) -> None:
        """Refuse requests for another model; nothing is ever loaded for a request."""
        if name is not None and name not in self.settings.names:
            raise unknown_model(name, self.settings.names)


class _Work:
    """A request in work: when it began, and what it wishes."""

    def __init__(
        self,
        service: Service,
        model: str | None,
        wishes: FreeLMOptions,
        truncate: bool | None = None,
    ) -> None:
        self._started = time.perf_counter()
        self._engine = service.engine
        self._wishes = wishes
        self._truncate = wishes.truncate if truncate is None else truncate
        service.check_model(model)

    async def judge(
        self, requests: Sequence[Request], places: Sequence[str]
    ) -> tuple[list[Judged], FreeLMInfo]:
        """Judge, and say what FreeLM adds to the answer.

        Args:
            requests: What is to be judged.
            places: Where in the body the text of each request stands.
        """
        try:
            judged = await self._engine.judge(requests, self._truncate, self._wishes.propositions)
        except ApiError as problem:
            if problem.code == "context_too_long" and problem.text is not None:
                problem.param = places[problem.text]
            raise
        seconds = time.perf_counter() - self._started
        return judged, report(self._wishes, requests, judged, seconds)
