from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from freelm.data.packing import build_tree, collate
from freelm.data.text import TokenStream, language_batch
from freelm.data.tokens import MARKERS, freelm_form
from freelm.model.markers import MarkerRows, add_markers, marker_ids
from freelm.model.network import FreeLMNetwork
from tiny import KINDS

BASES = [(kind, tied) for kind in KINDS for tied in (True, False)]


def shaken_rows(model: Any, tokenizer: Any) -> MarkerRows:
    rows = MarkerRows(model, tokenizer)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in rows.parameters():
            parameter.normal_(std=0.3, generator=generator)
    return rows


def matrices(model: Any) -> list[torch.Tensor]:
    return [model.get_input_embeddings().weight, model.get_output_embeddings().weight]


@pytest.mark.parametrize(("kind", "tied"), BASES)
def test_markers_are_added_once_and_touch_no_other_row(
    kind: str, tied: bool, tiny_base: Any
) -> None:
    model, tokenizer = tiny_base(kind, tied)
    size = len(tokenizer)
    before = [m.detach().clone() for m in matrices(model)]
    form = add_markers(model, tokenizer)
    assert marker_ids(tokenizer) == {m: size + i for i, m in enumerate(MARKERS)}
    assert len(tokenizer) == size + 4 == model.config.vocab_size
    after = [m.detach().clone() for m in matrices(model)]
    for old, new in zip(before, after, strict=True):
        assert torch.equal(new[:size], old)
    with torch.no_grad():
        for matrix in matrices(model):  # as training would change them
            matrix[size:] += 1
    after = [m.detach().clone() for m in matrices(model)]
    again = add_markers(model, tokenizer)
    assert (again.turn, again.end, again.false_id) == (form.turn, form.end, form.false_id)
    assert len(tokenizer) == size + 4
    for old, new in zip(after, matrices(model), strict=True):
        assert torch.equal(new, old)
    assert (matrices(model)[0] is matrices(model)[1]) == tied


def test_new_rows_start_from_words_of_like_meaning(tiny_base: Any) -> None:
    model, tokenizer = tiny_base("llama", tied=False)
    add_markers(model, tokenizer)
    ids = marker_ids(tokenizer)
    for matrix in matrices(model):
        words = tokenizer.encode(" true", add_special_tokens=False)
        torch.testing.assert_close(matrix[ids["<|true|>"]], matrix[words].mean(0))
        assert not torch.allclose(matrix[ids["<|true|>"]], matrix[ids["<|false|>"]])


def test_rows_that_the_base_keeps_in_reserve_are_used(tiny_tokenizer: Any) -> None:
    from tiny import make_model

    model = make_model("llama", len(tiny_tokenizer) + 64)
    add_markers(model, tiny_tokenizer)
    assert model.config.vocab_size == len(tiny_tokenizer) + 60


def test_saved_and_loaded_tokenizers_keep_ids_and_form(tmp_path: Path, tiny_base: Any) -> None:
    model, tokenizer = tiny_base("llama")
    form = add_markers(model, tokenizer)
    tokenizer.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    other = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert marker_ids(loaded) == marker_ids(tokenizer)
    again = add_markers(other, loaded)
    assert len(loaded) == len(tokenizer)
    assert torch.equal(matrices(other)[0], matrices(model)[0])
    text = "A [cls] cat. [sep] It is so. [cls]"
    assert loaded.encode(text, add_special_tokens=False) == tokenizer.encode(
        text, add_special_tokens=False
    )
    assert again.context(("a [cls] cat", "dog")) == form.context(("a [cls] cat", "dog"))
    assert again.claim("x [sep]") == form.claim("x [sep]")


@pytest.mark.parametrize(("kind", "tied"), BASES)
def test_rows_beside_a_model_equal_rows_written_into_it(
    kind: str, tied: bool, tiny_base: Any
) -> None:
    model, tokenizer = tiny_base(kind, tied)
    form = add_markers(model, tokenizer)
    rows = shaken_rows(model, tokenizer)
    assert len(rows.rows) == (1 if tied else 2)
    ids = torch.tensor([[4, *form.turn, 6, *form.end, form.true_id, form.false_id, 9]])
    states = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        embedded = rows.embed(ids, model.get_input_embeddings()(ids))
        logits = rows.predict(states, model.get_output_embeddings()(states))
        plain = model.get_output_embeddings()(states)
        rows.merge_into(model)
        assert torch.equal(embedded, model.get_input_embeddings()(ids))
        merged = model.get_output_embeddings()(states)
        torch.testing.assert_close(logits, merged, rtol=0, atol=1e-6)
        assert not torch.allclose(plain, merged, atol=1e-3)


@pytest.mark.parametrize(("kind", "tied"), BASES)
def test_the_network_is_the_same_with_rows_beside_and_within(
    kind: str, tied: bool, tiny_base: Any
) -> None:
    model, tokenizer = tiny_base(kind, tied)
    form = add_markers(model, tokenizer)
    rows = shaken_rows(model, tokenizer)
    tree = build_tree([7, 8, *form.turn], [[9, *form.end], [9, 10, *form.end]])
    batch = collate([tree], [[0]])
    tokens = torch.tensor([7, *form.turn, 9, *form.end, 3, form.true_id, 5]).numpy()
    language = language_batch([TokenStream(tokens, torch.tensor([7]).numpy(), 7).block(0, 7)])
    beside = FreeLMNetwork(model, form, rows)
    with torch.no_grad():
        before = beside.margins(batch), beside.language_loss(language)
        untouched = FreeLMNetwork(model, form).margins(batch)
        rows.merge_into(model)
        within = FreeLMNetwork(model, form)
        after = within.margins(batch), within.language_loss(language)
    torch.testing.assert_close(before[0], after[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(before[1], after[1], rtol=1e-6, atol=1e-5)
    assert not torch.allclose(before[0], untouched, atol=1e-3)


@pytest.mark.parametrize("tied", [True, False])
def test_the_gradient_reaches_the_rows_only_and_equals_that_of_the_matrix(
    tied: bool, tiny_base: Any
) -> None:
    model, tokenizer = tiny_base("llama", tied)
    form = add_markers(model, tokenizer)
    tree = build_tree([7, 8, *form.turn], [[9, *form.end], [9, 10, *form.end]])
    batch = collate([tree], [[0]])
    FreeLMNetwork(model, form).margins(batch).sum().backward()
    ids = list(marker_ids(tokenizer).values())
    expected = [m.grad[ids].clone() for m in (matrices(model)[:1] if tied else matrices(model))]
    model.zero_grad()
    model.requires_grad_(False)
    rows = MarkerRows(model, tokenizer)
    FreeLMNetwork(model, form, rows).margins(batch).sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    for parameter, gradient in zip(rows.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5)
        assert gradient.abs().sum() > 0


def test_the_form_of_a_tokenizer_without_a_model_is_the_same(tiny_base: Any) -> None:
    model, tokenizer = tiny_base("gpt2")
    assert add_markers(model, tokenizer) == freelm_form(tokenizer)
