import math
from itertools import pairwise

import pytest
import torch

from freelm.errors import TrainingError
from freelm.train.build import build_network
from freelm.train.distributed import ProcessGroup
from freelm.train.signals import (
    build_language_signal,
    build_teacher_signal,
    load_battery,
    tokenizer_texts,
)
from freelm.train.trainer import Trainer
from tiny_runs import lora, make_config


@pytest.fixture
def make(root):
    """`make(**changes)` -> a trainer of the basic configuration with those changes."""
    made = []

    def build(group=None, **changes):
        config = make_config(**changes)
        battery = load_battery(config.teacher, root)
        texts = tokenizer_texts(config, root, battery)
        network, _ = build_network(config.model, texts, config.seed)
        language = build_language_signal(config, root, network.tokenizer)
        teacher = build_teacher_signal(config.teacher, battery, config.seed)
        made.append(Trainer(config, network, language, teacher, group or ProcessGroup()))
        return made[-1]

    yield build
    for trainer in made:
        trainer.close()


def parameters(trainer):
    return [p.detach().clone() for p in trainer.trained]


def content(data):
    """What a step's data hold, to compare."""
    language = [
        (b.batch.ids.tolist(), b.batch.ends.tolist(), b.targets.tolist()) for b in data.language
    ]
    teacher = [
        (examples, batch.ids.tolist(), batch.positions.tolist(), batch.leaves.tolist())
        for examples, batch in data.teacher
    ]
    return data.turn, data.num_targets, language, teacher


MIXED = {"interaction": {"kind": "mixed"}}


@pytest.mark.parametrize("changes", [{}, MIXED])
@pytest.mark.parametrize("step", [0, 3, 7])
def test_the_data_of_a_step_are_a_pure_function_of_seed_and_step(make, changes, step):
    trainer = make(**changes)
    first = content(trainer.prepare(step))
    for other in (9, 2, 500, step + 1):
        trainer.prepare(other)
    assert content(trainer.prepare(step)) == first
    for number in range(4):
        trainer.step(number)
    assert content(trainer.prepare(step)) == first
    assert content(make(**changes).prepare(step)) == first
    assert content(make(**changes, seed=1).prepare(step)) != first


def test_steps_draw_the_next_examples_and_blocks_of_their_signal(make):
    trainer = make()
    drawn, blocks = [], []
    for step in range(25):
        data = trainer.prepare(step)
        drawn += [example.id for examples, _ in data.teacher for example in examples]
        blocks += [row for b in data.language for row in b.batch.ids.tolist()]
    assert sorted(drawn) == sorted(trainer.teacher.example(i).id for i in range(15 * 5))
    assert blocks == trainer.language.batch(range(10 * 3)).batch.ids.tolist()


def test_the_step_that_was_prepared_ahead_is_the_one_that_is_done(make):
    """In any order: after a jump the prepared step is thrown away."""
    one, other = make(), make()
    for step in (0, 1, 2, 3):
        one.step(step)
    other.step(0)
    other.settle()
    other._ahead = None
    for step in (1, 2, 3):
        other.step(step)
    assert all(map(torch.equal, parameters(one), parameters(other)))


def test_nothing_is_prepared_beyond_the_last_step(make):
    trainer = make(train__num_steps=2)
    asked = []
    own = trainer.prepare
    trainer.prepare = lambda step: (asked.append(step), own(step))[1]
    trainer.step(0)
    trainer.step(1)
    assert asked == [0, 1]


@pytest.mark.parametrize("changes", [{}, MIXED])
def test_splitting_a_step_changes_memory_not_the_result(make, changes):
    small = {"optimizer__learning_rate": 1e-3}
    whole = make(**changes, **small, train__tokens_per_batch=4096)
    split = make(**changes, **small, train__tokens_per_batch=32, train__row_length=16)
    parts = [len(t.prepare(2).teacher) + len(t.prepare(2).language) for t in (whole, split)]
    assert parts[0] < parts[1]
    for step in range(6):
        one, other = whole.step(step), split.step(step)
        assert one.keys() == other.keys()
        for key in one.keys() & {"language_loss", "teacher_loss", "gradient_norm"}:
            assert one[key] == pytest.approx(other[key], rel=1e-5)
        assert one["tokens"] == other["tokens"]
    gap = max(
        float((a - b).abs().max())
        for a, b in zip(parameters(whole), parameters(split), strict=True)
    )
    assert gap < 1e-6


def test_activations_that_are_computed_again_change_memory_not_the_result(make):
    kept, again = make(**MIXED), make(**MIXED, train__checkpoint_activations=True)
    assert again.network.causal.is_gradient_checkpointing
    for step in range(3):
        one, other = kept.step(step), again.step(step)
        assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-5)
    pairs = zip(parameters(kept), parameters(again), strict=True)
    assert max(float((a - b).abs().max()) for a, b in pairs) < 1e-6


def test_a_mixed_step_is_the_sum_of_both_signals(make):
    both = make(**MIXED, interaction__language_weight=0.5, interaction__teacher_weight=2.0)
    language = make(interaction={"kind": "language_only"})
    teacher = make(interaction={"kind": "teacher_only"})
    gradients = []
    for trainer in (both, language, teacher):
        trainer.optimizer.step = lambda: None
        trainer.config = trainer.config.model_copy(
            update={"optimizer": trainer.config.optimizer.model_copy(update={"clip_norm": None})}
        )
        record = trainer.step(0)
        gradients.append([p.grad for p in trainer.trained])
        assert record["signal"] == {0: "both", 1: "language", 2: "teacher"}[len(gradients) - 1]
    for mixed, one, other in zip(*gradients, strict=True):
        assert torch.allclose(mixed, 0.5 * one + 2.0 * other, atol=1e-6)


def test_the_language_loss_is_per_token_and_the_teacher_loss_per_example(make):
    trainer = make()
    data = trainer.prepare(0)
    with torch.no_grad():
        total = sum(float(trainer.network.language_loss(b)) for b in data.language)
    record = trainer.step(0)
    assert record["language_loss"] == pytest.approx(total / data.num_targets, rel=1e-5)
    assert record["language_loss"] == pytest.approx(math.log(300), rel=0.1)
    assert data.num_targets == sum(b.num_targets for b in data.language) < 48
    taught = [example for examples, _ in trainer.prepare(2).teacher for example in examples]
    untaught = [  # every margin near 0
        math.log(2) + 0.5 * (math.log(len(example.claims)) if example.one_of else 0)
        for example in taught
    ]
    assert trainer.step(2)["teacher_loss"] == pytest.approx(sum(untaught) / len(taught), rel=0.2)


def test_a_step_moves_the_weights_and_the_next_signal_goes_on_from_there(make):
    trainer = make()
    states = [parameters(trainer)]
    for step in range(4):
        trainer.step(step)
        states.append(parameters(trainer))
    for before, after in pairwise(states):
        assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_only_the_adapter_moves(make, tiny_base_folder):
    trainer = make(**lora(tiny_base_folder))
    frozen = {n: p.detach().clone() for n, p in trainer.network.named_parameters()}
    for step in range(3):
        trainer.step(step)
    moved = {
        n for n, p in trainer.network.named_parameters() if not torch.equal(p.detach(), frozen[n])
    }
    assert moved
    assert all("lora" in name or name.startswith("rows") for name in moved)


# -- not a number --------------------------------------------------------------------------------


def poison(trainer):
    with torch.no_grad():
        trainer.network.causal.model.norm.weight[0] = math.nan


def test_a_teacher_loss_that_is_not_finite_names_its_step_and_examples(make):
    trainer = make()
    poison(trainer)
    before = parameters(trainer)
    names = [e.id for examples, _ in trainer.prepare(2).teacher for e in examples]
    with pytest.raises(TrainingError, match=r"^step 2: the loss is nan") as caught:
        trainer.step(2)
    assert len(names) == 5
    assert all(name in str(caught.value) for name in names)
    assert all(
        torch.equal(
            a,
            b,
        )
        or a.isnan().any()
        for a, b in zip(before, parameters(trainer), strict=True)
    )
    assert not trainer.optimizer.state


def test_a_language_loss_that_is_not_finite_names_its_blocks(make):
    trainer = make()
    poison(trainer)
    places = [trainer.language.block_at(index) for index in range(3, 6)]
    with pytest.raises(TrainingError, match=r"^step 1: the loss is nan") as caught:
        trainer.step(1)
    assert ", ".join(f"{corpus} block {block}" for corpus, block in places) in str(caught.value)


def test_a_gradient_that_is_not_finite_changes_nothing(make):
    trainer = make()
    trainer.step(0)
    before = parameters(trainer)
    trainer.trained[0].register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(TrainingError, match=r"^step 1: the gradient is not finite \(tiny block"):
        trainer.step(1)
    assert all(torch.equal(a, b) for a, b in zip(before, parameters(trainer), strict=True))
    assert all(float(s["step"]) == 1 for s in trainer.optimizer.state.values())


# -- shares --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [0, 2])
@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_a_step(make, step, size):
    whole = make().prepare(step)
    shares = [make(ProcessGroup(rank, size)).prepare(step) for rank in range(size)]
    assert {share.num_targets for share in shares} == {whole.num_targets}
    assert sum(share.num_tokens for share in shares) == whole.num_tokens
    assert sum(share.num_language_tokens for share in shares) == whole.num_language_tokens

    def examples(parts):
        return sorted(e.id for data in parts for listed, _ in data.teacher for e in listed)

    assert examples(shares) == examples([whole])


def test_a_process_without_a_share_has_nothing_to_do(make):
    data = make(ProcessGroup(5, 6)).prepare(0)
    assert (data.language, data.teacher, data.num_tokens) == ([], [], 0)
