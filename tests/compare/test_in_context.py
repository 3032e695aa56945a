import pytest

from freelm.compare.in_context import (
    Demonstrations,
    draw_demonstrations,
    fit,
    longest_question,
    tokenize,
)
from freelm.config import parse_config
from freelm.data.label_word_form import plain_form
from freelm.errors import DataError
from freelm.eval.items import labelled_examples
from freelm.eval.measure import report_rows
from freelm.tasks import default_registry, load_rows
from freelm.tasks.label_word_task import label_word_task
from freelm.train.signals import load_battery
from tiny_compare import RUN, UNSEEN
from tiny_freelm import tiny_network

RUN_0, RUN_1 = (parse_config({**RUN, "seed": seed}, "test") for seed in (0, 1))


@pytest.mark.parametrize("task", ["miniworld_topic", "miniworld_sentiment", UNSEEN])
def test_demonstrations_are_training_rows_with_their_own_labels(world, task):
    shots = draw_demonstrations(RUN_0, task, 8, world)
    assert len({shot.id for shot in shots}) == 8
    rows = load_rows(default_registry().get(task), "train", world)
    own = label_word_task(rows.task)
    battery = load_battery(RUN_0.teacher.model_copy(update={"tasks": [task], "weights": {}}), world)
    for shot in shots:
        name, split, number = shot.id.split("/")
        assert (name, split) == (task, "train")
        assert int(number) not in battery.excluded[task]
        row = own.example(rows.row(int(number)), shot.id, own.phrasings[0])
        right = row.claims[row.truths.index(1.0)]
        assert shot.claims[shot.truths.index(1.0)] == right
        assert shot.context == row.context


def test_demonstrations_follow_the_seed_and_few_are_the_first_of_many(world):
    task = "miniworld_topic"
    many = draw_demonstrations(RUN_0, task, 8, world)
    assert draw_demonstrations(RUN_0, task, 4, world) == many[:4]
    assert draw_demonstrations(RUN_1, task, 8, world) != many
    assert draw_demonstrations(RUN_0, task, 0, world) == []


def test_a_task_without_training_rows_shows_nothing(world, tmp_path):
    with pytest.raises(DataError):
        draw_demonstrations(RUN_0, "rte", 2, world)


def test_demonstrations_are_written_one_after_the_other():
    network = tiny_network()
    form = plain_form(network.form)
    (shot,) = tokenize(
        [
            demonstration("The film is long.", ("bad", "good"), (0.0, 1.0)),
        ],
        form,
        50,
    )
    assert network.tokenizer.decode(shot.ids) == "The film is long.\nAnswer: good\n\n"
    (cut,) = tokenize([demonstration("The film is long. " * 20, ("a", "b"), (1.0, 0.0))], form, 9)
    assert len(cut.ids) == 9 + len(form.claim("a"))


def demonstration(text, claims, truths):
    from freelm.data.teacher import TeacherExample

    return TeacherExample("t/train/3", (text,), claims, truths, (1, 1), True)


def test_as_many_as_fit_are_shown():
    shots = [
        Demonstrations((1, 2, 3), ("a",)),
        Demonstrations((4, 5), ("b",)),
        Demonstrations((6,), ("c",)),
    ]
    assert fit(shots, 100) == Demonstrations((1, 2, 3, 4, 5, 6), ("a", "b", "c"))
    assert fit(shots, 5) == Demonstrations((1, 2, 3, 4, 5), ("a", "b"))
    assert fit(shots, 4) == Demonstrations((1, 2, 3), ("a",))
    assert fit(shots, -3) == fit([], 9) == Demonstrations((), ())


def test_the_longest_question_is_measured_with_its_longest_answer(world):
    task = label_word_task(default_registry().get("miniworld_topic"))
    examples = labelled_examples(report_rows(task, world), task.phrasings[0], None)
    form = plain_form(tiny_network().form)
    whole = [
        len([*form.context(e.context).ids, *form.claim(claim)])
        for e in examples
        for claim in e.claims
    ]
    assert longest_question(examples, form, 500) == max(whole)
