import pytest
import yaml

from freelm.tasks import default_registry

GOOD = """
name: mine
version: 1
family: weather
question: choice
reference: invented
source: {files: {train: train.csv, test: test.csv}}
fields: {text: text}
context: ["{text}"]
label: {column: label, ids: [sun, rain]}
phrasings:
  - name: first
    claims: {sun: The sun shines., rain: It rains.}
  - name: spare
    held_out: true
    claims: {sun: It is bright., rain: It is wet.}
metrics: [accuracy]
"""


@pytest.fixture
def own(tmp_path):
    """Write a task of one's own, with some keys changed, beside two CSV files."""

    def write(**changes):
        (tmp_path / "train.csv").write_text("text,label\nA fine day,sun\nA bad day,rain\n")
        (tmp_path / "test.csv").write_text('text,label\n"A day, so to say",rain\n')
        data = yaml.safe_load(GOOD)
        data.update(changes)
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(data))
        return path

    return write


# -- list, show ------------------------------------------------------------------------------------


def test_list_as_json_names_every_shipped_task(cli):
    answer = cli("tasks", "list", "--json")
    assert (answer.code, answer.err) == (0, "")
    assert [row["name"] for row in answer.json] == default_registry().names()
    for row in answer.json:
        assert list(row) == ["name", "family", "question", "splits"]
        task = default_registry().get(row["name"])
        assert (row["family"], row["question"]) == (task.family, task.question)


def test_list_in_words_has_a_line_per_task(cli):
    header, *lines = cli("tasks", "list").out.splitlines()
    assert header.split() == ["task", "family", "question", "splits"]
    assert [line.split()[0] for line in lines] == default_registry().names()


def test_list_names_the_splits_of_a_data_root(cli, world):
    rows = {row["name"]: row for row in cli("tasks", "list", "--json", "--data", world).json}
    assert rows["miniworld_topic"]["splits"] == ["test", "train", "validation"]
    bare = {row["name"]: row for row in cli("tasks", "list", "--json").json}
    assert bare["miniworld_topic"]["splits"] == []


def test_show_prints_the_file(cli, own):
    path = default_registry().get("rte").path
    assert cli("tasks", "show", "rte").out == path.read_text()
    mine = own()
    assert cli("tasks", "show", mine).out == mine.read_text()


@pytest.mark.parametrize("verb", ["show", "preview", "check"])
def test_an_unknown_task_is_named_with_its_near_matches(cli, verb):
    cli("tasks", verb, "mnly").refused("unknown task 'mnly'; did you mean 'mnli'")
    cli("tasks", verb, "no/such.yaml").refused("no/such.yaml: cannot be read")


# -- preview ---------------------------------------------------------------------------------------


def test_preview_prints_every_proposition_with_its_truth(cli, own):
    answer = cli("tasks", "preview", own(), "--n", "2", "--form", "sentence")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (
        "mine/train/0 (sentence, first)\n"
        "     1  A fine day [sep] The sun shines. [cls]\n"
        "     0  A fine day [sep] It rains. [cls]\n"
        "mine/train/1 (sentence, first)\n"
        "     0  A bad day [sep] The sun shines. [cls]\n"
        "     1  A bad day [sep] It rains. [cls]\n"
    )


def test_preview_of_rows_without_labels_and_of_fewer_rows_than_asked(cli, own, tmp_path):
    path = own(source={"files": {"test": "bare.csv"}})
    (tmp_path / "bare.csv").write_text("text,label\nA day,\n")
    answer = cli("tasks", "preview", path, "--n", "9", "--form", "sentence")
    assert answer.out.splitlines()[1:] == [
        "     ?  A day [sep] The sun shines. [cls]",
        "     ?  A day [sep] It rains. [cls]",
    ]


def test_preview_of_a_shipped_task_from_a_data_root(cli, world):
    answer = cli(
        "tasks", "preview", "miniworld_qa", "--data", world, "--n", "1", "--form", "option"
    )
    assert answer.code == 0
    truths = [line.split()[0] for line in answer.out.splitlines()[1:]]
    assert truths.count("1") == 1
    assert len(truths) > 1


def test_preview_without_data_says_how_to_give_it(cli):
    cli("tasks", "preview", "miniworld_qa").refused("--data", "split 'train' not found")


# -- check -----------------------------------------------------------------------------------------


def test_check_of_a_sound_task(cli, own):
    answer = cli("tasks", "check", own())
    assert (answer.code, answer.out) == (0, "")
    assert answer.err.splitlines() == [
        "mine: the definition is sound",
        "mine/test: 1 of 1 rows are sound",
        "mine/train: 2 of 2 rows are sound",
    ]


def phrasing(**changes):
    return {"name": "first", "claims": {"sun": "The sun shines.", "rain": "It rains."}, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "colour: unknown key"),
        ({"label": {"column": "label", "ids": ["sun", "rain"], "x": 1}}, "label.x: unknown key"),
        ({"question": "essay"}, "question: Input should be 'predicate', 'choice'"),
        ({"version": "new"}, "version"),
        ({"context": ["{txt}"]}, "context part 1: unknown field 'txt'; available: text"),
        ({"context": ["A day"]}, "context: no part uses a field"),
        ({"context": ["{text.__class__}"]}, "only {field} with a plain name is allowed"),
        ({"context": ["{text[0]}"]}, "only {field} with a plain name is allowed"),
        ({"context": ["{text!r}"]}, "only {field} with a plain name is allowed"),
        ({"context": ["{text"]}, "context part 1: template '{text'"),
        (
            {"phrasings": [phrasing(claims={"sun": "It shines."})]},
            "label 'rain' is missing in claims",
        ),
        (
            {"phrasings": [phrasing(claims={"sun": "S.", "rain": "R.", "fog": "F."})]},
            "unknown label 'fog' in claims",
        ),
        (
            {"phrasings": [phrasing(claims={"sun": "It rains.", "rain": "it RAINS"})]},
            "are equal: 'It rains.'",
        ),
        ({"phrasings": [phrasing(claims={}, template="It is so.")]}, "template lacks {label}"),
        (
            {"phrasings": [phrasing(claims={}, template="It is {label}.")]},
            "label 'sun' has no description",
        ),
        ({"phrasings": [phrasing(template="It is {label}.")]}, "give either claims or template"),
        (
            {"phrasings": [phrasing(), {**phrasing(name="spare"), "held_out": True}]},
            "held-out phrasing 'spare' repeats a claim of training phrasing 'first'",
        ),
        ({"phrasings": [phrasing(held_out=True)]}, "all are held out"),
        ({"phrasings": []}, "phrasings"),
        ({"metrics": ["beauty"]}, "metrics.0"),
    ],
)
def test_check_names_what_is_wrong_with_a_definition(cli, own, changes, message):
    path = own(**changes)
    cli("tasks", "check", path).refused(str(path), message)


def test_check_names_all_problems_at_once(cli, own):
    path = own(context=["{txt}"], phrasings=[phrasing(claims={"sun": "It shines."})])
    cli("tasks", "check", path).refused("unknown field 'txt'", "label 'rain' is missing")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "is not valid YAML"),
        ("just words", "must be a mapping"),
        ("name: a\nname: b\n", "duplicate key 'name'"),
        ("name: !!python/object/apply:os.system [ls]\n", "is not valid YAML"),
    ],
)
def test_check_names_a_file_that_is_no_definition(cli, tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    cli("tasks", "check", path).refused(str(path), message)


def test_check_prints_what_is_wrong_with_the_rows_and_goes_on(cli, own, tmp_path):
    path = own()
    (tmp_path / "train.csv").write_text("text,label\nA day,sun\n,rain\nA day,fog\nA day,\n")
    answer = cli("tasks", "check", path)
    assert answer.code == 1
    problems = answer.out.splitlines()
    assert len(problems) == 2
    assert problems[0] == "mine/train/1: the context is empty"
    assert problems[1].startswith("mine/train/2: label 'fog' in column 'label' is outside")
    assert "mine/train: 2 of 4 rows are sound" in answer.err
    assert "mine/test: 1 of 1 rows are sound" in answer.err


def test_check_names_a_missing_column_and_a_missing_file(cli, own, tmp_path):
    path = own(source={"files": {"train": "train.csv", "test": "none.csv"}})
    (tmp_path / "train.csv").write_text("txt,label\nA day,sun\n")
    answer = cli("tasks", "check", path)
    assert answer.code == 1
    missing_file, missing_column = answer.out.splitlines()
    assert missing_file == f"{tmp_path / 'none.csv'}: no such file"
    assert "train.csv: task 'mine' needs column 'text'; available: label, txt" in missing_column


def test_check_without_data_says_so(cli, own):
    answer = cli("tasks", "check", own(source={}))
    assert answer.code == 0
    assert answer.out == ""
    assert "mine: no data to check; give --data or source.files" in answer.err


def test_check_looks_at_as_many_rows_as_asked(cli, own, tmp_path):
    path = own()
    (tmp_path / "train.csv").write_text("text,label\nA day,sun\nA day,fog\n")
    assert cli("tasks", "check", path, "--rows", "1").code == 0
    assert cli("tasks", "check", path, "--rows", "2").code == 1


def test_export_writes_a_task_for_the_harness(cli, world, tmp_path):
    answer = cli(
        "tasks", "export", "miniworld_topic", "miniworld_qa", "--data", world, "--out", tmp_path
    )
    assert answer.code == 0
    assert answer.out.splitlines() == [
        str(tmp_path / f"freelm_miniworld_{name}.yaml") for name in ("topic", "qa")
    ]
    assert (tmp_path / "freelm_miniworld_qa.jsonl").is_file()
    cli("tasks", "export", "rte", "--data", world, "--out", tmp_path).refused("rte")
