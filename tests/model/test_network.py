import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import freelm.model.network as network_module
from freelm.data.packing import (
    Tree,
    attention_mask,
    build_tree,
    collate,
    pack_rows,
    token_budget_batches,
)
from freelm.data.text import IGNORED, LanguageBatch, TokenStream, language_batch
from freelm.model.markers import MarkerRows, add_markers
from freelm.model.network import FreeLMNetwork
from tiny import KINDS, plain_margin

CLOSE = {"rtol": 0.0, "atol": 1e-5}


@pytest.fixture(params=KINDS, scope="module")
def network(request: pytest.FixtureRequest) -> FreeLMNetwork:
    import tiny

    tokenizer = tiny.make_tokenizer()
    model = tiny.make_model(request.param, len(tokenizer))
    return FreeLMNetwork(model, add_markers(model, tokenizer)).eval()


def random_tokens(source: random.Random, low: int, high: int, few: int = 400) -> list[int]:
    return [source.randrange(1, few) for _ in range(source.randint(low, high))]


def random_claims(source: random.Random, close: tuple[int, ...]) -> list[list[int]]:
    """Claims that share beginnings; with duplicates, one-token claims and prefixes of others."""
    claims = [random_tokens(source, 1, 8, few=4) for _ in range(source.randint(1, 6))]
    longest = max(claims, key=len)
    claims.append(longest[: source.randint(1, len(longest))])
    claims.append(list(source.choice(claims)))
    claims.append([source.randrange(1, 4)])
    if source.random() < 0.5:
        claims = [[*claim, *close] for claim in claims]
    source.shuffle(claims)
    return claims


def random_question(source: random.Random, form: Any) -> tuple[list[int], list[list[int]], Tree]:
    context = [*random_tokens(source, 1, 20), *form.turn]
    claims = random_claims(source, form.end)
    return context, claims, build_tree(context, claims)


def margins(network: FreeLMNetwork, tree: Tree) -> torch.Tensor:
    with torch.no_grad():
        return network.margins(collate([tree], [[0]]))


# -- verdicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_a_tree_equals_judging_each_proposition_alone(network: FreeLMNetwork, seed: int) -> None:
    context, claims, tree = random_question(random.Random(seed), network.form)
    alone = [plain_margin(network.causal, network.form, context, claim) for claim in claims]
    torch.testing.assert_close(margins(network, tree), torch.tensor(alone), **CLOSE)
    if len({tuple(claim) for claim in claims}) > 1:
        assert max(alone) - min(alone) > 0.01  # equality would say nothing of equal numbers


def test_text_judged_as_a_tree_equals_text_judged_alone(network: FreeLMNetwork) -> None:
    form = network.form
    context = form.context(("The film is a delight.", "The dog is not there."))
    claims = [form.claim(f"Here, the review is {w}.") for w in ("positive", "negative", "there")]
    alone = [plain_margin(network.causal, form, context.ids, claim) for claim in claims]
    tree = build_tree(context.ids, claims)
    assert len(tree) < len(context.ids) + sum(map(len, claims))
    torch.testing.assert_close(margins(network, tree), torch.tensor(alone), **CLOSE)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_options_never_matters(network: FreeLMNetwork, seed: int) -> None:
    source = random.Random(seed)
    context, claims, tree = random_question(source, network.form)
    first = margins(network, tree)
    order = list(range(len(claims)))
    source.shuffle(order)
    second = margins(network, build_tree(context, [claims[i] for i in order]))
    torch.testing.assert_close(second, first[order], **CLOSE)


@pytest.mark.parametrize(("max_tokens", "row_length"), [(1, 1), (64, 64), (150, 40), (4000, 300)])
def test_neighbours_and_budgets_never_matter(
    network: FreeLMNetwork, max_tokens: int, row_length: int
) -> None:
    source = random.Random(1)
    trees = [random_question(source, network.form)[2] for _ in range(9)]
    alone = [margins(network, tree) for tree in trees]
    for indices, batch in token_budget_batches(trees, max_tokens, row_length):
        with torch.no_grad():
            found = network.margins(batch)
        torch.testing.assert_close(found, torch.cat([alone[i] for i in indices]), **CLOSE)


def test_padding_holds_no_verdict_and_changes_none(network: FreeLMNetwork) -> None:
    source = random.Random(2)
    short, long = (random_question(source, network.form)[2] for _ in range(2))
    batch = collate([short, long], [[0], [1]])
    assert batch.ids.numel() > batch.num_tokens
    with torch.no_grad():
        found = network.margins(batch)
    expected = torch.cat([margins(network, short), margins(network, long)])
    torch.testing.assert_close(found, expected, **CLOSE)


def test_gradients_of_a_packed_batch_are_the_sum_of_single_ones(network: FreeLMNetwork) -> None:
    source = random.Random(3)
    questions = [random_question(source, network.form) for _ in range(4)]
    trees = [tree for _, _, tree in questions]
    weights = torch.randn(
        sum(len(tree.leaves) for tree in trees), generator=torch.Generator().manual_seed(0)
    )
    parameters = dict(network.named_parameters())
    network.zero_grad()
    packed = network.margins(collate(trees, pack_rows([len(tree) for tree in trees], 90)))
    (F.softplus(packed) * weights).sum().backward()
    found = {n: p.grad.clone() for n, p in parameters.items() if p.grad is not None}
    network.zero_grad()
    singles = [(context, claim) for context, claims, _ in questions for claim in claims]
    for weight, (context, claim) in zip(weights, singles, strict=True):
        logits = network.causal(input_ids=torch.tensor([[*context, *claim]])).logits[0, -1]
        margin = logits[network.form.true_id] - logits[network.form.false_id]
        (F.softplus(margin) * weight).backward()
    expected = {n: p.grad for n, p in parameters.items() if p.grad is not None}
    network.zero_grad()
    assert found.keys() == expected.keys()
    assert len(found) > 10
    for name, gradient in found.items():
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-5 + 1e-4 * scale)


def test_the_verdict_is_read_off_two_rows_of_the_output_embedding(network: FreeLMNetwork) -> None:
    tree = build_tree([5, 6, 7], [[8], [9, 10]])
    batch = collate([tree], [[0]])
    weight = network.causal.get_output_embeddings().weight
    with torch.no_grad():
        states = network.hidden(batch)[0, list(tree.leaves)]
        expected = states @ (weight[network.form.true_id] - weight[network.form.false_id])
        torch.testing.assert_close(network.margins(batch), expected)


# -- language -------------------------------------------------------------------------------------


def documents_batch(documents: list[list[int]]) -> LanguageBatch:
    """One block that holds some documents whole."""
    tokens = [token for document in documents for token in document]
    ends = torch.tensor([len(document) for document in documents]).cumsum(0).numpy()
    stream = TokenStream(torch.tensor(tokens).numpy(), ends, len(tokens))
    return language_batch([stream.block(0, len(tokens))])


def logits_of(network: FreeLMNetwork, language: LanguageBatch) -> torch.Tensor:
    with torch.no_grad():
        return network.logits(network.hidden(language.batch)[0])


def test_logits_of_a_block_equal_those_of_each_document_alone(network: FreeLMNetwork) -> None:
    source = random.Random(4)
    documents = [random_tokens(source, 3, 25) for _ in range(4)]
    with torch.no_grad():
        alone = [network.causal(input_ids=torch.tensor([d])).logits[0] for d in documents]
    found = logits_of(network, documents_batch(documents))
    torch.testing.assert_close(found, torch.cat(alone), rtol=0, atol=2e-5)


def test_changing_a_document_changes_nothing_in_the_others(network: FreeLMNetwork) -> None:
    source = random.Random(5)
    first, second, third = (random_tokens(source, 8, 8) for _ in range(3))
    before = logits_of(network, documents_batch([first, second, third]))
    changed = [(token + 7) % 400 for token in second]
    after = logits_of(network, documents_batch([first, changed, third]))
    torch.testing.assert_close(after[:8], before[:8], **CLOSE)
    torch.testing.assert_close(after[16:], before[16:], **CLOSE)
    assert not torch.allclose(after[8:16], before[8:16], atol=0.01)


def test_the_loss_of_one_document_is_the_models_own(network: FreeLMNetwork) -> None:
    document = random_tokens(random.Random(6), 30, 30)
    ids = torch.tensor([document])
    with torch.no_grad():
        mean = network.causal(input_ids=ids, labels=ids).loss
        found = network.language_loss(documents_batch([document]))
    torch.testing.assert_close(found, mean * 29, rtol=1e-5, atol=1e-4)


def test_the_loss_is_the_summed_cross_entropy_of_what_follows(network: FreeLMNetwork) -> None:
    source = random.Random(7)
    documents = [random_tokens(source, 2, 12) for _ in range(5)]
    expected = 0.0
    for document in documents:
        with torch.no_grad():
            logits = network.causal(input_ids=torch.tensor([document])).logits[0]
        for place, token in enumerate(document[1:]):
            expected -= float(logits[place].double().log_softmax(-1)[token])
    language = documents_batch(documents)
    assert language.num_targets == sum(len(document) - 1 for document in documents)
    assert network.language_loss(language).item() == pytest.approx(expected, rel=1e-5)


def test_chunking_changes_neither_loss_nor_gradient(
    network: FreeLMNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = random.Random(8)
    language = documents_batch([random_tokens(source, 20, 20) for _ in range(3)])
    results = []
    for chunk in (1000, 57, 16, 1):
        monkeypatch.setattr(network_module, "LOGIT_CHUNK", chunk)
        network.zero_grad()
        loss = network.language_loss(language)
        loss.backward()
        gradients = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
        results.append((loss.detach(), gradients))
    network.zero_grad()
    with torch.no_grad():
        torch.testing.assert_close(network.language_loss(language), results[0][0])
    for loss, gradients in results[1:]:
        torch.testing.assert_close(loss, results[0][0], rtol=1e-5, atol=1e-4)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, results[0][1][name], rtol=1e-3, atol=1e-4)


def test_a_block_without_targets_costs_nothing(network: FreeLMNetwork) -> None:
    language = documents_batch([[3], [4], [5]])
    assert (language.targets == IGNORED).all()
    assert network.language_loss(language).item() == 0.0


# -- what it says of itself -----------------------------------------------------------------------


def test_the_window_and_the_tokenizer_are_the_bases(network: FreeLMNetwork) -> None:
    assert network.max_positions == 512
    assert network.tokenizer is network.form.tokenizer
    assert network.device == torch.device("cpu")


def test_marker_rows_beside_an_untied_model_use_the_output_row(tiny_base: Any) -> None:
    model, tokenizer = tiny_base("llama", tied=False)
    form = add_markers(model, tokenizer)
    rows = MarkerRows(model, tokenizer)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in rows.parameters():
            parameter.normal_(generator=generator)
    tree = build_tree([5, *form.turn], [[8, *form.end], [9, 10, *form.end]])
    beside = margins(FreeLMNetwork(model, form, rows), tree)
    rows.merge_into(model)
    torch.testing.assert_close(beside, margins(FreeLMNetwork(model, form), tree), **CLOSE)


def test_the_mask_of_a_plain_document_is_causal() -> None:
    mask = attention_mask(documents_batch([[1, 2, 3, 4]]).batch.ends)[0, 0]
    assert torch.equal(mask, torch.ones(4, 4).tril().bool())
