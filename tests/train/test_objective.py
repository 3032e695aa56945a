import pytest
import torch

import tiny_runs
from freelm.config import TeacherConfig, parse_config
from freelm.data.packing import collate, token_budget_batches
from freelm.data.teacher import TeacherExample
from freelm.data.text import document_separator
from freelm.errors import ConfigError
from freelm.train.objective import build_objective
from tiny_freelm import tiny_network

WORDS = {"target": "label_words"}


def example(truths, claims=("bad", "very good", "good")):
    return TeacherExample("t/train/0", ("The film is long.",), claims, truths, (1, 1, 1), True)


EXAMPLES = [
    example((0.0, 1.0, 0.0)),
    example((1.0, 0.0, 0.0)),
    example((0.1, 0.5, 0.4), ("a delight", "the last scene of it", "x")),
]


@pytest.fixture
def taught():
    network = tiny_network()
    return network, build_objective(TeacherConfig(tasks=["rte"], **WORDS), network.form)


def by_hand(network, context, words):
    """Negative log-likelihood of words and their end after a context, by a stock forward pass."""
    tokenizer = network.tokenizer
    answer = [*tokenizer.encode(" " + words), document_separator(tokenizer)]
    ids = [*network.form.context((context,)).ids, *answer]
    with torch.no_grad():
        logs = network.causal(torch.tensor([ids])).logits[0].log_softmax(-1)
    places = range(len(ids) - len(answer), len(ids))
    return -float(sum(logs[place - 1, ids[place]] for place in places))


def test_the_loss_is_that_of_the_right_labels_words_and_of_nothing_else(taught):
    network, words = taught
    expected = sum(
        by_hand(network, "The film is long.", right)
        for right in ("very good", "bad", "the last scene of it")
    )
    trees = [words.tree(example) for example in EXAMPLES]
    together = words.loss(network, EXAMPLES, collate(trees, [[0, 1], [2]]))
    assert float(together.detach()) == pytest.approx(expected, rel=1e-5)
    apart = sum(
        float(words.loss(network, [EXAMPLES[i]], batch).detach())
        for chosen, batch in token_budget_batches(trees, 16, 8)
        for i in chosen
    )
    assert apart == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_that_of_a_plain_computation(taught):
    network, words = taught
    tree = words.tree(EXAMPLES[0])
    words.loss(network, EXAMPLES[:1], collate([tree], [[0]])).backward()
    found = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    logs = network.causal(torch.tensor([tree.ids])).logits[0].log_softmax(-1)
    (-sum(logs[leaf - 1, tree.ids[leaf]] for leaf in tree.leaves)).backward()
    for one, parameter in zip(found, network.parameters(), strict=True):
        assert torch.allclose(one, parameter.grad, atol=1e-5)


def test_a_run_on_label_words_goes_on_as_if_it_had_not_stopped(run, straight, crash_at, tmp_path):
    data = tiny_runs.config_data(teacher__target="label_words", train__num_steps=7)
    crash_at(5)
    with pytest.raises(tiny_runs.Crash):
        run(data)
    crash_at(None)
    run(data)
    tiny_runs.same_run(tmp_path / "run", straight(data))
    record = tiny_runs.facts(tmp_path / "run")["record"]
    assert record["target"] == "label_words"
    assert set(record["tasks"]) == set(data["teacher"]["tasks"])
    assert tiny_runs.facts(tmp_path / "run")["temperature"] == 1.0


def test_both_targets_train_the_same_rows_with_the_same_tokenizer(straight):
    runs = [
        straight(tiny_runs.config_data(teacher__target=target, train__num_steps=7))
        for target in ("label_words", "propositions")
    ]
    one, other = ((run / "model" / "tokenizer.json").read_text() for run in runs)
    assert one == other
    losses = [[r.get("teacher_loss") for r in tiny_runs.metrics(run)] for run in runs]
    assert losses[0] != losses[1]


def test_verdicts_that_are_not_trained_choose_nothing():
    data = tiny_runs.config_data(teacher__target="label_words", train__evaluate_every=2)
    with pytest.raises(ConfigError, match="drop evaluate_every"):
        parse_config(data, "test")
