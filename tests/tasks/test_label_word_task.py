import pytest

from freelm.errors import TaskError
from freelm.tasks import default_registry
from freelm.tasks.label_word_task import label_word_task


def example(name, row):
    task = label_word_task(default_registry().get(name))
    return task.example(row, "row", task.phrasings[0])


def test_labels_are_named_by_their_names_after_the_name_of_the_task_and_the_text():
    found = example("rte", {"sentence1": "One.", "sentence2": "Two.", "label": 1})
    assert found.context == ("rte: entailment or not entailment?", "One.", "Two.")
    assert found.claims == ("entailment", "not entailment")
    assert found.labels == ("entailment", "not_entailment")
    assert found.truths == (0.0, 1.0)


def test_labels_are_named_by_their_descriptions_where_they_have_some():
    found = example("miniworld_topic", {"text": "It rains.", "label": 3})
    assert found.context[0].startswith("miniworld topic: ")
    assert " or the weather" in found.context[0]
    assert found.context[1:] == ("It rains.",)
    assert found.claims[3] == "the weather"


def test_a_long_list_of_labels_is_not_told():
    assert example("banking77", {"text": "Where is my card?", "label": 0}).context[0] == "banking77"


def test_options_are_their_own_words():
    row = {"report": "Nora ran.", "options": ["Nora ran.", "Nora sat."], "answer": 0}
    assert example("miniworld_consistency", row).claims == ("Nora ran.", "Nora sat.")


def test_what_only_claims_speak_of_is_told_after_the_text():
    row = {"text": "Anna liked the cake.", "target": "the cake", "label": 1}
    found = example("miniworld_sentiment", row)
    assert found.context[1:] == ("Anna liked the cake.", "the cake")
    assert not any("cake" in words for words in found.claims)


def test_a_predicate_is_a_choice_between_its_labels():
    task = label_word_task(default_registry().get("boolq"))
    assert task.question == "choice"
    found = task.example({"passage": "P.", "question": "Q", "label": 1}, "row", task.phrasings[0])
    assert dict(zip(found.claims, found.truths, strict=True)) == {"false": 0.0, "true": 1.0}


@pytest.mark.parametrize("name", default_registry().names())
def test_every_shipped_task_has_label_words(name):
    task = default_registry().get(name)
    own = label_word_task(task)
    assert (own.name, own.family, own.metrics) == (task.name, task.family, task.metrics)
    assert own.columns() == task.columns()
    assert [p.held_out for p in own.phrasings] == [False]


def test_two_labels_with_the_same_words_are_refused():
    task = default_registry().get("rte")
    label = task.label.model_copy(
        update={"descriptions": {"entailment": "yes", "not_entailment": "yes"}}
    )
    with pytest.raises(TaskError, match="two labels have the same words"):
        label_word_task(task.model_copy(update={"label": label}))
