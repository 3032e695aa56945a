import json

import pytest
import torch

from freelm.api import FreeLM
from freelm.errors import ModelError
from freelm.model.compute.precision import has_int8_units
from tiny_freelm import save_freelm

TEXT = "The film is a delight from the first scene to the last."
CLAIMS = ["The film is good.", "A cat sleeps, and the dog is not there."]


@pytest.fixture
def judge(cli, freelm_folder):
    """Run a command with the tiny model."""

    def call(verb, *arguments, stdin=b""):
        return cli(verb, "--model", freelm_folder, *arguments, stdin=stdin)

    return call


# -- what is printed -------------------------------------------------------------------------------


def test_judge_as_json(judge, model):
    answer = judge("judge", TEXT, "--claim", CLAIMS[0], "--claim", CLAIMS[1], "--json")
    assert (answer.code, answer.err) == (0, "")
    assert answer.json == [verdict.as_dict() for verdict in model.judge(TEXT, CLAIMS)]
    assert list(answer.json[0]) == ["claim", "is_true", "probability", "truncated", "windows"]


def test_a_model_that_was_taught_label_words_is_told_of(cli, tmp_path):
    folder = save_freelm(tmp_path / "words", target="label_words")
    answer = cli("judge", "--model", folder, TEXT, "--claim", CLAIMS[0])
    assert (answer.code, len(answer.out.splitlines())) == (0, 1)
    assert "was trained to write the words of labels" in answer.err


def test_judge_in_words(judge, model):
    answer = judge("judge", TEXT, "--claim", CLAIMS[0], "--claim", CLAIMS[1])
    expected = [
        f"{'true ' if v.is_true else 'false'}  {v.probability:.3f}  {v.claim}"
        for v in model.judge(TEXT, CLAIMS)
    ]
    assert (answer.code, answer.out.splitlines(), answer.err) == (0, expected, "")


def test_classify_as_json(judge, model):
    answer = judge("classify", TEXT, "--labels", "film, village ,dog", "--json")
    assert answer.code == 0
    assert answer.json == [model.classify(TEXT, ["film", "village", "dog"]).as_dict()]
    keys = ["label", "labels", "probability", "verdict", "probabilities", "verdicts"]
    assert list(answer.json[0]) == [*keys, "truncated", "windows"]
    assert list(answer.json[0]["probabilities"]) == ["film", "village", "dog"]


def test_classify_in_words_has_the_best_label_first(judge, model):
    answer = judge("classify", TEXT, "--labels", "film,village,dog")
    found = model.classify(TEXT, ["film", "village", "dog"])
    lines = answer.out.splitlines()
    assert lines[0] == found.label
    assert [line.split() for line in lines[1:]] == [
        [name, f"{share:.3f}"] for name, share in found.top(3)
    ]


def test_classify_options_reach_the_model(judge, model):
    arguments = ["--labels", "film,dog", "--template", "It says {}.", "--multi", "--threshold", "1"]
    answer = judge("classify", TEXT, *arguments, "--json")
    expected = model.classify(TEXT, ["film", "dog"], "It says {}.", multi=True, threshold=1)
    assert answer.json == [expected.as_dict()]
    assert answer.json[0]["label"] is None
    assert judge("classify", TEXT, *arguments).out.startswith("(none)\n")


def test_a_threshold_is_shown_with_the_numbers_it_is_compared_with(judge, model):
    answer = judge("classify", TEXT, "--labels", "film,dog", "--threshold", "0.9")
    found = model.classify(TEXT, ["film", "dog"], threshold=0.9)
    for (name, share), line in zip(found.top(2), answer.out.splitlines()[1:], strict=True):
        assert line.split() == [name, f"{share:.3f}", "(verdict", f"{found.verdicts[name]:.3f})"]


def test_score_as_json(judge, model):
    arguments = ["--question", "How good is it?", "--levels", "bad,fair,good"]
    answer = judge("score", TEXT, *arguments, "--json")
    assert answer.json == [model.score(TEXT, "How good is it?", ["bad", "fair", "good"]).as_dict()]
    assert list(answer.json[0]) == ["value", "level", "probabilities", "truncated", "windows"]


def test_score_in_words_keeps_the_order_of_levels(judge, model):
    answer = judge("score", TEXT, "--question", "How good is it?", "--levels", "bad,fair,good")
    found = model.score(TEXT, "How good is it?", ["bad", "fair", "good"])
    lines = answer.out.splitlines()
    assert lines[0] == f"{found.value:.2f}  {found.level}"
    assert [line.split()[0] for line in lines[1:]] == ["bad", "fair", "good"]


@pytest.mark.parametrize(
    "question",
    [
        ["judge", "--claim", "c"],
        ["classify", "--labels", "a,b"],
        ["score", "--question", "q", "--levels", "a,b"],
    ],
    ids=lambda words: words[0],
)
def test_a_text_that_was_cut_is_said_to_be(judge, question):
    long = TEXT * 60
    assert "(the text was too long and was cut)" in judge(*question, "--", long).out.split("\n")[0]
    assert judge(*question, "--json", "--", long).json[0]["truncated"] is True
    assert "was cut" not in judge(*question, "--", TEXT).out


@pytest.mark.parametrize(
    "question",
    [
        ["judge", "--claim", "c"],
        ["classify", "--labels", "a,b"],
        ["score", "--question", "q", "--levels", "a,b"],
    ],
    ids=lambda words: words[0],
)
def test_a_long_text_may_be_read_in_windows_or_refused(judge, question):
    long = TEXT * 60
    windows = judge(*question, "--json", "--long-texts", "windows", "--", long).json[0]
    assert windows["windows"] > 1
    assert windows["truncated"] is False
    first = judge(*question, "--long-texts", "windows", "--", long).out.split("\n")[0]
    assert first.endswith(f"  (read in {windows['windows']} windows)")
    assert "read in" not in judge(*question, "--long-texts", "windows", "--", TEXT).out
    refused = judge(*question, "--long-texts", "error", "--", long)
    refused.refused("the text is longer than the", "read in windows")
    assert judge(*question, "--long-texts", "error", "--", TEXT).code == 0


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8"])
def test_the_type_of_numbers_reaches_the_model(judge, freelm_folder, dtype):
    if dtype == "int8" and not has_int8_units(torch.device("cpu")):
        pytest.skip("this CPU has no int8 instructions")
    own = FreeLM.from_pretrained(freelm_folder, dtype=dtype)
    answer = judge("judge", TEXT, "--claim", CLAIMS[0], "--dtype", dtype, "--json")
    assert answer.json == [own.judge(TEXT, CLAIMS[0]).as_dict()]


def test_an_unknown_type_of_numbers_is_refused(judge):
    judge("judge", TEXT, "--claim", "c", "--dtype", "fp8").refused("dtype is 'fp8'", "int8")


QUESTIONS = {
    "judge": ["--claim", "c"],
    "classify": ["--labels", "a,b"],
    "score": ["--question", "q", "--levels", "a,b"],
}


@pytest.fixture
def asked_of(monkeypatch):
    """What is asked of the model that is to be loaded; none is."""
    seen = {}

    def from_pretrained(name, **settings):
        seen.update(settings)
        raise ModelError("enough")

    monkeypatch.setattr(FreeLM, "from_pretrained", from_pretrained)
    return seen


@pytest.mark.parametrize("verb", list(QUESTIONS))
@pytest.mark.parametrize("of_a_file", [False, True])
def test_what_computes_reaches_the_model(judge, asked_of, tmp_path, verb, of_a_file):
    source = tmp_path / "in.csv"
    source.write_text("text\na\n")
    about = ["--input", source, "--output", tmp_path / "out.csv"] if of_a_file else [TEXT]
    words = [verb, *QUESTIONS[verb], *about]
    judge(*words).refused("enough")
    assert (asked_of["dtype"], asked_of["device"], asked_of["compile"]) == ("auto", None, False)
    judge(*words, "--dtype", "int8", "--device", "cuda:1", "--compile").refused("enough")
    assert (asked_of["dtype"], asked_of["device"], asked_of["compile"]) == ("int8", "cuda:1", True)


@pytest.mark.parametrize("verb", list(QUESTIONS))
def test_a_device_that_is_not_there_is_one_line(judge, verb):
    words = [verb, TEXT, *QUESTIONS[verb], "--device"]
    judge(*words, "cudaa").refused("device is 'cudaa'; it must be cpu, cuda")
    judge(*words, "cuda:99").refused("device is 'cuda:99', and no such GPU is here")
    assert judge(*words, "cpu").code == 0


def test_json_is_readable_utf8(judge):
    answer = judge("judge", "Über Größe", "--claim", "Es geht um Größe.", "--json")
    assert "Größe" in answer.out
    assert json.loads(answer.out)["claim"] == "Es geht um Größe."


# -- standard input --------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["-"], []])
@pytest.mark.parametrize(
    "question",
    [
        ["judge", "--claim", "c"],
        ["classify", "--labels", "a,b"],
        ["score", "--question", "q", "--levels", "a,b"],
    ],
    ids=lambda words: words[0],
)
def test_a_dash_or_nothing_reads_standard_input(judge, question, words):
    expected = judge(*question, "--json", "--", TEXT).out
    assert judge(*question, "--json", "--", *words, stdin=TEXT.encode()).out == expected
    assert judge(*question, "--json", "--", *words, stdin=f"{TEXT}\n".encode()).out == expected
    assert (
        judge(*question, "--json", "--", *words, stdin=f"\ufeff{TEXT}\r\n".encode()).out == expected
    )


def test_lines_inside_standard_input_stay(judge):
    one = judge("judge", "--claim", "c", "--json", stdin=b"a\nb\n").out
    assert one == judge("judge", "a\nb", "--claim", "c", "--json").out
    assert one != judge("judge", "a b", "--claim", "c", "--json").out


def test_what_is_not_utf8_is_refused_with_its_place(judge):
    judge("judge", "--claim", "c", stdin=b"caf\xe9 au lait").refused(
        "standard input is not UTF-8 (byte 3)"
    )


@pytest.mark.parametrize("stdin", [b"", b" \n"])
def test_empty_standard_input_is_refused(judge, stdin):
    judge("judge", "-", "--claim", "c", stdin=stdin).refused("text is empty")


# -- failures --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["judge", "", "--claim", "c"], "text is empty"),
        (["judge", "t", "--claim", " "], "claim 1 is empty"),
        (["judge", "t", "--claim", "c", "--claim", "c"], "the claim 'c' is given twice"),
        (["judge", "a\udc80", "--claim", "c"], "unpaired surrogate"),
        (["judge", "t", "--claim", "c " * 2000], "shorten the claim"),
        (["classify", "t", "--labels", "a"], "at least two labels"),
        (["classify", "t", "--labels", "a,a"], "the label 'a' is given twice"),
        (["classify", "t", "--labels", ",,"], "at least two labels"),
        (["classify", "t", "--labels", "a,b", "--template", "x"], "exactly one {}"),
        (["classify", "t", "--labels", "a,b", "--threshold", "1.5"], "threshold must be between"),
        (["score", "t", "--question", "", "--levels", "a,b"], "question is empty"),
        (["score", "t", "--question", "q", "--levels", "a"], "at least two"),
    ],
)
def test_bad_input_is_one_line(judge, arguments, message):
    answer = judge(*arguments)
    answer.refused(message)
    assert answer.out == ""


# -- models ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("freelm-135m", "`freelm demo` trains a small model that needs none"),
        ("base/smolm2-135m", "did you mean 'base/smollm2-135m'?"),
        ("smollm2-135m", "did you mean 'base/smollm2-135m' or"),
        ("runs/no/such/model", "no folder"),
        ("base/smollm2-135m", "freelm data pull base/smollm2-135m"),
        ("model.gguf", "no such file"),
        ("somebody/some-model", "not reachable on the Hub"),
    ],
)
def test_an_unknown_model_is_named_and_nothing_is_asked_of_the_network(
    cli, own_cache, name, message
):
    # The fixture `network_attempts` fails this test if anything leaves the machine.
    cli("judge", "t", "--claim", "c", "--model", name).refused(message)


def test_the_model_may_come_from_the_environment(cli, freelm_folder, monkeypatch):
    monkeypatch.setenv("FREELM_MODEL", str(freelm_folder))
    assert cli("judge", "t", "--claim", "c").code == 0


def test_an_untrained_base_judges_by_its_prompt(cli, tiny_base_folder):
    answer = cli("judge", TEXT, "--claim", "c", "--json", "--model", tiny_base_folder)
    assert answer.code == 0
    assert 0 < answer.json[0]["probability"] < 1


def test_a_process_of_its_own_reads_and_writes_utf8(freelm_folder):
    from tiny_freelm import run_program

    result = run_program(
        "judge", "--claim", "Es ist größer.", "--model", freelm_folder, "--json",
        input="Größe\n".encode(),
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, b"")
    assert json.loads(result.stdout.decode())["claim"] == "Es ist größer."


def test_an_untrained_base_is_told_of(cli, tiny_base_folder, freelm_folder):
    words = ["The soup was cold.", "--claim", "The guest is happy."]
    answer = cli("judge", *words, "--model", tiny_base_folder)
    assert answer.code == 0
    assert "is untrained: it is judged by a prompt" in answer.err
    assert cli("judge", *words, "--model", freelm_folder).err == ""
