import numpy as np
import pytest

from freelm.eval.measure import Setting
from freelm.eval.sections import Findings, Paragraph
from freelm.eval.suites import robust as robustness
from freelm.eval.suites.robust import evaluate_robustness
from freelm.eval.suites.robust.perturbations import PERTURBATIONS
from freelm.judge.requests import Judgement
from freelm.tasks import Task, default_registry, load_rows

TOPIC = default_registry().get("miniworld_topic")

TASK = """
name: mine
version: 1
family: weather
question: choice
reference: invented
source: {files: {test: rows.jsonl}}
fields: {one: one, two: two}
context: ["{one}", "{two}"]
label: {column: label, ids: [sun, rain]}
phrasings:
  - name: first
    claims: {sun: The sun shines., rain: It rains.}
    opposites: {sun: The sun does not shine., rain: It does not rain.}
  - name: other
    held_out: true
    claims: {sun: It is bright., rain: It is wet.}
metrics: [accuracy]
"""


@pytest.fixture
def mine(tmp_path):
    """A task with two fields, opposites and a phrasing that is held out."""
    write_rows(tmp_path, 6)
    (tmp_path / "mine.yaml").write_text(TASK)
    return Task.from_file(tmp_path / "mine.yaml")


def write_rows(folder, count):
    row = '{{"one": "Day {}, all was bright.", "two": "Nobody stayed inside.", "label": "sun"}}\n'
    (folder / "rows.jsonl").write_text("".join(row.format(i) for i in range(count)))


def say_sun(model, monkeypatch, when):
    """The model holds the claims of some contexts true, in full certainty."""

    def judge(requests):
        return [
            Judgement(r.claims, np.where([when(r.context, c) for c in r.claims], 9.0, -9.0))
            for r in requests
        ]

    monkeypatch.setattr(model._judge, "judge", judge)


def test_every_change_and_phrasing_has_a_figure(model, mine):
    said = []
    found = evaluate_robustness(model, [mine], Setting(seeds=2, skip=said.append))
    assert said == []
    variants = list(dict.fromkeys(r.variant for r in found))
    expected = [p.name for p in PERTURBATIONS if p.applies(mine)]
    assert variants == [
        "original", "held-out phrasing other", *expected, "option-order", "opposites",
    ]  # fmt: skip
    assert {r.suite for r in found} == {"robust"}
    drawn = {r.variant: r.seeds for r in found if r.seeds}
    assert drawn == {p.name: 2 for p in PERTURBATIONS if p.drawn and p.applies(mine)}


def test_the_order_of_the_options_changes_nothing(model, world):
    found = evaluate_robustness(model, [TOPIC], Setting(world, limit=6, seeds=2))
    values = {r.metric: r.value for r in found if r.variant == "option-order"}
    assert values["flipped"] == 0.0
    assert values["largest_margin_difference"] < robustness.INVARIANT_TO


def test_judge_with_a_position_prior_is_reported(model, world, monkeypatch):
    monkeypatch.setattr(
        model._judge,
        "judge",
        lambda requests: [Judgement(r.claims, -np.arange(len(r.claims)) * 1.0) for r in requests],
    )
    said = []
    found = evaluate_robustness(model, [TOPIC], Setting(world, limit=6, seeds=2, say=said.append))
    values = {r.metric: r.value for r in found if r.variant == "option-order"}
    assert values["flipped"] > 0.5
    assert "the order of the options changes a margin" in said[0]


def test_a_judge_of_the_first_field_fails_without_it_and_with_it_only_there(
    model, mine, monkeypatch, tmp_path
):
    write_rows(tmp_path, 12)
    say_sun(model, monkeypatch, lambda context, claim: ("Day" in context[0]) == ("sun" in claim))
    found = {r.variant: r for r in evaluate_robustness(model, [mine], Setting(seeds=1))}
    assert found["original"].value == 1.0
    assert found["last-field-only"].value == 0.0
    assert found["last-field-only"].note.startswith("control; a significant change")
    assert found["fields-reordered"].value == 0.0
    assert found["lower-case"].value == 0.0
    assert found["no-punctuation"].value == 1.0
    assert found["no-punctuation"].note == (
        "no significant change (+0.0 to +0.0 points, p 1); all rows are 'sun'"
    )


def test_the_tests_of_a_task_are_corrected_for_their_number(model, mine, monkeypatch):
    # Six of six answers change with one of the changes: p = 2 / 2^6 = 0.03 if it were the only one.
    say_sun(model, monkeypatch, lambda context, claim: ("DAY" in context[0]) != ("sun" in claim))
    found = evaluate_robustness(model, [mine], Setting(seeds=1))
    changes = [r for r in found if r.note and "significant" in r.note]
    (moved,) = [r for r in changes if r.variant == "upper-case"]
    assert moved.value == 0.0
    assert moved.note.startswith(
        f"no significant change (-100.0 to -100.0 points, p {len(changes) / 32:.2g})"
    )
    (block,) = [b for b in robustness.SUITE.section(Findings(found)) if isinstance(b, Paragraph)]
    assert "corrected by Holm's method for all changes of the task" in block.text


@pytest.mark.parametrize(("agrees", "gap", "disagreement"), [(True, 1.0, 1.0), (False, 0.0, 0.0)])
def test_a_claim_and_its_opposite_share_one(model, mine, monkeypatch, agrees, gap, disagreement):
    say_sun(model, monkeypatch, lambda context, claim: agrees or "not" not in claim)
    found = evaluate_robustness(model, [mine], Setting(seeds=1))
    values = {r.metric: r.value for r in found if r.variant == "opposites"}
    assert values["opposite_gap"] == pytest.approx(gap, abs=1e-3)
    assert values["disagreement"] == disagreement


@pytest.fixture
def plain(mine, tmp_path):
    """The same task, where it does not state opposites."""
    text = "\n".join(line for line in TASK.split("\n") if "opposites:" not in line)
    (tmp_path / "plain.yaml").write_text(text.replace("name: mine", "name: plain"))
    return Task.from_file(tmp_path / "plain.yaml")


@pytest.mark.parametrize(
    ("held", "gap", "disagreement"),
    [(("sun", "rain"), 1.0, 1.0), ((), 1.0, 1.0), (("sun",), 0.0, 0.0), (("rain",), 0.0, 0.0)],
)
def test_the_claims_of_two_labels_are_opposites(model, plain, monkeypatch, held, gap, disagreement):
    say_sun(model, monkeypatch, lambda context, claim: any(word in claim for word in held))
    found = evaluate_robustness(model, [plain], Setting(seeds=1))
    values = {r.metric: r for r in found if r.variant == "opposites"}
    assert values["opposite_gap"].value == pytest.approx(gap, abs=1e-3)
    assert values["disagreement"].value == disagreement
    assert {r.note for r in values.values()} == {"the claims of its two labels"}


def test_opposites_of_two_labels_are_not_judged_again(model, plain, mine, tmp_path):
    setting = Setting(seeds=1, out=tmp_path / "out")
    evaluate_robustness(model, [plain, mine], setting)
    names = {path.name for path in (tmp_path / "out" / "items").glob("*.opposites.jsonl")}
    assert names == {"mine.test.first.opposites.jsonl"}


def test_claims_of_more_labels_or_of_options_are_no_opposites(model, world):
    tasks = [default_registry().get("miniworld_qa"), TOPIC]
    assert not any(p.opposites or p.opposite_template for t in tasks for p in t.training_phrasings)
    found = evaluate_robustness(model, tasks, Setting(world, limit=3, seeds=1))
    assert {r.task for r in found} == {task.name for task in tasks}
    assert "opposites" not in {r.variant for r in found}


def test_a_finished_suite_judges_nothing_again(model, mine, tmp_path, monkeypatch):
    setting = Setting(seeds=2, out=tmp_path / "out")
    first = evaluate_robustness(model, [mine], setting)
    names = {path.name for path in (tmp_path / "out" / "items").iterdir()}
    assert "mine.test.first.typos-5-seed-1.jsonl" in names
    assert "mine.test.other.jsonl" in names
    monkeypatch.setattr(model._judge, "judge", None)
    assert evaluate_robustness(model, [mine], setting) == first


def test_other_tasks_are_done_when_one_cannot_be(model, mine):
    said = []
    gone = mine.model_copy(update={"name": "gone", "report_split": "nowhere"})
    found = evaluate_robustness(model, [gone, mine], Setting(seeds=1, skip=said.append))
    assert {r.task for r in found} == {"mine"}
    assert said[0].startswith("gone: skipped: ")


def test_rows_are_limited_where_nothing_is_said(model, world, monkeypatch):
    monkeypatch.setattr(robustness, "ROWS", 3)
    assert len(load_rows(TOPIC, "test", world)) > 3
    found = evaluate_robustness(model, [TOPIC], Setting(world, seeds=1))
    assert {r.n for r in found} == {3}
