from freelm.compare.prompt_examples import one_row, prompt_examples
from freelm.eval.sections import Verbatim
from freelm.tasks import default_registry
from tiny_compare import TASKS


def test_a_row_is_shown_in_every_way_it_is_asked(world):
    task = default_registry().get("miniworld_topic")
    propositions, words, shown = one_row(task, world).split("\n\n")
    row, *claims = propositions.splitlines()
    assert row.startswith("miniworld_topic/test/")
    assert len(claims) == 4
    text = claims[0].partition(" [sep] ")[0]
    assert claims[3] == f"{text} [sep] The text is about the weather. [cls]"
    name = "miniworld topic: food or sport or music or the weather?"
    assert words == f"{name} [sep] {text} [sep] food | sport | music | the weather"
    assert shown == f"{name}\n {text}\nAnswer: food | sport | music | the weather"


def test_every_task_is_shown(world):
    blocks = prompt_examples(default_registry().get_all(TASKS), world)
    assert len([block for block in blocks if isinstance(block, Verbatim)]) == len(TASKS)
