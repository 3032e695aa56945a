import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import freelm.data.tokens as tokens_module
from freelm.data.tokens import (
    CHARACTERS_PER_TOKEN,
    MARKERS,
    TextForm,
    cut_longest,
    encode_text,
    freelm_form,
)
from freelm.errors import InputError
from freelm.model.markers import add_markers
from freelm.tasks import Proposition
from tiny import KINDS, make_model, make_tokenizer

INTRUDERS = ("[cls]", "[sep]", "<|true|>", "<|false|>", "<|endoftext|>")
WORDS = st.text(string.ascii_letters + string.digits + "äß語 .,:'\n?-", max_size=30).map(str.strip)
PIECES = st.lists(st.lists(st.integers(0, 9), max_size=20), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def form() -> TextForm:
    tokenizer = make_tokenizer()
    return add_markers(make_model("llama", len(tokenizer)), tokenizer)


def special_ids(tokenizer: Any) -> set[int]:
    return set(tokenizer.all_special_ids) | {tokenizer.convert_tokens_to_ids(m) for m in MARKERS}


def test_the_form_is_context_sep_claim_cls(form: TextForm) -> None:
    tokenizer = form.tokenizer
    sep, cls, false, true = (tokenizer.convert_tokens_to_ids(m) for m in MARKERS)
    assert len({sep, cls, false, true}) == 4
    context, claim = form.context(("A cat.", "A dog.")), form.claim("It is so.")
    plain = encode_text
    expected = [*plain(tokenizer, "A cat."), sep, *plain(tokenizer, " A dog."), sep]
    assert list(context.ids) == expected
    assert list(claim) == [*plain(tokenizer, " It is so."), cls]
    assert (form.false_id, form.true_id) == (false, true)


@pytest.mark.parametrize("intruder", INTRUDERS)
@pytest.mark.parametrize("pattern", ["{}", "a {} b", "{}{}", " {} "])
def test_text_never_becomes_a_special_token(form: TextForm, intruder: str, pattern: str) -> None:
    text = pattern.replace("{}", intruder)
    special = special_ids(form.tokenizer)
    (sep,) = form.joint
    context = form.context((text, text)).ids
    assert [i for i in context if i in special] == [sep, sep]
    claim = form.claim(text)
    assert [i for i in claim if i in special] == list(form.end)
    assert form.tokenizer.decode(encode_text(form.tokenizer, text)) == text


@given(st.lists(st.sampled_from([*INTRUDERS, "x", " ", "the"]), max_size=8).map("".join))
def test_no_mixture_of_markers_and_text_becomes_special(form: TextForm, text: str) -> None:
    assert not set(encode_text(form.tokenizer, text)) & special_ids(form.tokenizer)


@given(st.lists(WORDS.filter(bool), min_size=1, max_size=3), WORDS.filter(bool))
def test_the_stock_tokenizer_reads_the_written_form_as_the_same_tokens(
    form: TextForm, parts: list[str], claim: str
) -> None:
    written = form.tokenizer.encode(Proposition(tuple(parts), claim).text, add_special_tokens=False)
    assert written == [*form.context(tuple(parts)).ids, *form.claim(claim)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_form_does_not_depend_on_the_model(kind: str, tiny_base: Any) -> None:
    model, tokenizer = tiny_base(kind)
    assert add_markers(model, tokenizer).context(("a cat",)) == freelm_form(tokenizer).context(
        ("a cat",)
    )


@given(PIECES, st.integers(0, 120))
def test_cutting_keeps_beginnings_and_takes_from_the_longest_only(
    pieces: list[list[int]], budget: int
) -> None:
    if budget < sum(1 for piece in pieces if piece):
        with pytest.raises(InputError, match="no room for the text"):
            cut_longest(pieces, budget)
        return
    cut = cut_longest(pieces, budget)
    assert sum(map(len, cut)) == min(budget, sum(map(len, pieces)))
    assert len(cut) == len(pieces)
    kept = [len(piece) for piece in cut]
    for before, after in zip(pieces, cut, strict=True):
        assert before[: len(after)] == after
        assert bool(before) == bool(after)
        if len(after) < len(before):  # what lost tokens is still among the longest
            assert len(after) >= max(kept) - 1


def test_a_short_question_beside_a_long_passage_stays_whole(form: TextForm) -> None:
    question = "Is the cat there?"
    context = form.context((question, "the film is long. " * 50), 60)
    ids = encode_text(form.tokenizer, question)
    assert list(context.ids[: len(ids)]) == ids
    assert len(context.ids) == 60
    assert context.truncated


@given(st.lists(WORDS, min_size=1, max_size=3), st.integers(8, 80))
def test_truncated_says_whether_tokens_were_left_out(
    form: TextForm, parts: list[str], max_tokens: int
) -> None:
    whole = form.context(tuple(parts))
    assert not whole.truncated
    cut = form.context(tuple(parts), max_tokens)
    assert len(cut.ids) == min(len(whole.ids), max_tokens)
    assert cut.truncated == (len(whole.ids) > max_tokens)
    if not cut.truncated:
        assert cut == whole


def test_a_context_that_fits_exactly_is_not_truncated(form: TextForm) -> None:
    whole = form.context(("a cat sleeps", "the dog"))
    assert form.context(("a cat sleeps", "the dog"), len(whole.ids)) == whole
    assert form.context(("a cat sleeps", "the dog"), len(whole.ids) - 1).truncated


def test_no_room_at_all_is_an_input_error(form: TextForm) -> None:
    with pytest.raises(InputError, match="no room"):
        form.context(("a cat", "a dog", "a film"), 4)


@pytest.mark.parametrize("text", ["x", "ab ", "語", "\n", "the film is long. "])
def test_of_a_million_characters_only_the_start_is_read(form: TextForm, text: str) -> None:
    long = text * (1_000_000 // len(text))
    context = form.context((long, "Is it so?"), 256)
    assert len(context.ids) <= 256
    assert context.truncated


def test_a_tokenizer_never_sees_more_than_can_matter(
    form: TextForm, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def spy(tokenizer: Any, text: str) -> list[int]:
        seen.append(text)
        return [1] * len(text)

    monkeypatch.setattr(tokens_module, "encode_text", spy)
    form.context(("x" * 1_000_000, "y" * 1_000_000), 100)
    assert [len(text) for text in seen] == [6_400, 6_401]  # a blank stands before the second part


def test_text_that_is_clipped_before_tokenizing_gives_the_same_tokens(form: TextForm) -> None:
    text = "the film is a delight from the first scene to the last. " * 200
    assert len(text) > 32 * CHARACTERS_PER_TOKEN
    assert form.context((text,), 32).ids[:-1] == form.context((text,)).ids[:31]


def test_claims_are_never_cut(form: TextForm) -> None:
    claim = "the film is long " * 2000
    ids = form.claim(claim)
    assert form.tokenizer.decode(ids[:-1]) == " " + claim


# -- windows ---------------------------------------------------------------------------------------


LONG = " ".join(f"house {i} is red" for i in range(60))


@pytest.mark.parametrize("max_tokens", [20, 37, 90])
@pytest.mark.parametrize("parts", [(LONG,), ("Is it red?", LONG), (LONG, "Is it red?")])
def test_windows_overlap_and_hold_every_token_of_the_longest_part(
    form: TextForm, parts: tuple[str, ...], max_tokens: int
) -> None:
    windows = form.windows(parts, max_tokens)
    whole = form.context(parts).ids
    assert all(len(w.ids) <= max_tokens and not w.truncated for w in windows)
    assert max(len(w.ids) for w in windows) == max_tokens
    long = tuple(encode_text(form.tokenizer, LONG if parts[0] == LONG else f" {LONG}"))
    before = next(i for i in range(len(whole)) if whole[i : i + len(long)] == long)
    after = len(whole) - before - len(long)
    start, stop = -1, 0
    for window in windows:
        assert window.ids[:before] == whole[:before]
        assert window.ids[-after:] == whole[-after:]
        piece = window.ids[before:-after]
        start = next(i for i in range(start + 1, len(long)) if long[i : i + len(piece)] == piece)
        assert start < stop or start == 0
        stop = start + len(piece)
    assert stop == len(long)


def test_a_text_that_fits_has_one_window_and_it_is_the_context(form: TextForm) -> None:
    parts = ("A cat sleeps.", "Is it awake?")
    assert form.windows(parts, 100) == [form.context(parts)]


def test_a_part_that_fills_the_window_is_cut_to_half_and_said_to_be(form: TextForm) -> None:
    windows = form.windows((LONG, LONG + " and blue"), 60)
    assert len(windows) > 5
    assert all(w.truncated and len(w.ids) <= 60 for w in windows)


@given(st.text(st.sampled_from("ab c\n"), max_size=300), st.integers(2, 50))
def test_segments_make_up_the_text(text: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens_module, "SEGMENT", size)
        pieces = list(tokens_module._segments(text))
    assert "".join(pieces) == text
    assert all(len(piece) <= size for piece in pieces)
