import itertools
import math

import numpy as np
import pytest
import torch

import tiny
from freelm import Check, Classification, FreeLM, Ranked, Score, Verdict
from freelm import api as predictor
from freelm.api import DEFAULT_TEMPLATE
from freelm.data.prompts import PROMPTS
from freelm.errors import InputError, ModelError
from freelm.judge import engine
from freelm.judge.questions import RELEVANCE_CLAIM
from freelm.tasks.forms import check_claims

TEXTS = ["A cat sleeps on the mat.", "The film is a delight.", "In 2019 there were 42 houses."]
CLAIMS = ["The dog is there.", "Here, the movie review is positive."]
LABELS = ["film", "village", "dog"]


def near(value):
    return pytest.approx(value, abs=1e-5)


# -- judge -----------------------------------------------------------------------------------------


def test_judge_nests_as_its_arguments_do(model):
    single = {(t, c): model.judge(t, c) for t in TEXTS for c in CLAIMS}
    assert all(isinstance(verdict, Verdict) for verdict in single.values())
    by_claim = model.judge(TEXTS[0], CLAIMS)
    by_text = model.judge(TEXTS, CLAIMS[0])
    table = model.judge(TEXTS, CLAIMS)
    assert [v.claim for v in by_claim] == CLAIMS
    assert [v.probability for v in by_claim] == near(
        [single[TEXTS[0], c].probability for c in CLAIMS]
    )
    assert [v.probability for v in by_text] == near(
        [single[t, CLAIMS[0]].probability for t in TEXTS]
    )
    for text, row in zip(TEXTS, table, strict=True):
        assert [v.probability for v in row] == near([single[text, c].probability for c in CLAIMS])


def test_lists_of_one_stay_lists(model):
    assert [[v.claim for v in row] for row in model.judge(TEXTS[:1], CLAIMS[:1])] == [CLAIMS[:1]]
    assert isinstance(model.classify(TEXTS[:1], LABELS)[0], Classification)


def test_a_verdict_is_the_stock_next_token_probability(model):
    network = model.model.network
    form = network.form
    margin = tiny.plain_margin(
        network.causal, form, form.context((TEXTS[0],)).ids, form.claim(CLAIMS[0])
    )
    assert model.judge(TEXTS[0], CLAIMS[0]).probability == near(1 / (1 + math.exp(-margin)))


def test_white_space_around_a_claim_does_not_matter(model):
    assert model.judge(TEXTS[0], f"  {CLAIMS[0]}\n") == model.judge(TEXTS[0], CLAIMS[0])


# -- classify --------------------------------------------------------------------------------------


def test_classify_is_the_softmax_of_the_claims_margins(model):
    claims = [DEFAULT_TEMPLATE.format(label) for label in LABELS]
    odds = [v.probability / (1 - v.probability) for v in model.judge(TEXTS[0], claims)]
    answer = model.classify(TEXTS[0], LABELS)
    assert list(answer.probabilities) == LABELS
    assert list(answer.probabilities.values()) == near([o / sum(odds) for o in odds])
    assert sum(answer.probabilities.values()) == pytest.approx(1.0, abs=1e-12)
    assert answer.label == max(answer.probabilities, key=answer.probabilities.get)
    assert answer.probability == answer.probabilities[answer.label]


def test_several_texts_are_classified_as_each_alone(model):
    answers = model.classify(TEXTS, LABELS)
    for text, answer in zip(TEXTS, answers, strict=True):
        alone = model.classify(text, LABELS)
        assert answer.label == alone.label
        assert answer.probabilities == near(alone.probabilities)


SETS = [["film", "village"], {"x": "the dog", "y": "a cat"}, ["film", "dog", "cat"]]


@pytest.mark.parametrize("multi", [False, True])
def test_each_text_may_have_labels_of_its_own(model, multi):
    answers = model.classify(TEXTS, SETS, "It is about {}.", multi=multi, threshold=0.3)
    for text, labels, answer in zip(TEXTS, SETS, answers, strict=True):
        alone = model.classify(text, labels, "It is about {}.", multi=multi, threshold=0.3)
        assert (answer.label, answer.labels) == (alone.label, alone.labels)
        assert answer.probabilities == near(alone.probabilities)


def test_thresholds_of_labels_count_where_the_label_is(model):
    first, second, third = model.classify(TEXTS, SETS, threshold={"film": 1, "village": 1})
    assert (first.label, second.label is None) == (None, False)
    assert third.label in ("dog", "cat")
    with pytest.raises(InputError, match="'horse', which is not one of the labels"):
        model.classify(TEXTS, SETS, threshold={"film": 0.5, "horse": 0.5})


@pytest.mark.parametrize(
    ("text", "labels", "message"),
    [
        (TEXTS, SETS[:2], "2 lists of labels for 3 texts"),
        (TEXTS, [*SETS[:2], ["film"]], "text 2: at least two labels are needed, not 1"),
        (TEXTS, [SETS[0], ["a", "a"], SETS[2]], "text 1: the label 'a' is given twice"),
        (TEXTS[0], SETS[:1], "texts must be a list"),
        ([TEXTS[0], " "], SETS[:2], "text 1 is empty"),
    ],
)
def test_wrong_labels_of_one_text_are_named(model, text, labels, message):
    with pytest.raises(InputError, match=message):
        model.classify(text, labels)


@pytest.mark.parametrize("multi", [False, True])
def test_the_order_of_labels_never_matters(model, multi):
    first = model.classify(TEXTS[0], LABELS, multi=multi)
    for order in itertools.permutations(LABELS):
        answer = model.classify(TEXTS[0], list(order), multi=multi)
        assert list(answer.probabilities) == list(order)
        assert answer.probabilities == near(first.probabilities)
        assert answer.label == first.label


def test_multi_gives_each_label_its_own_verdict(model):
    answer = model.classify(TEXTS[0], LABELS, multi=True)
    claims = [DEFAULT_TEMPLATE.format(label) for label in LABELS]
    expected = [v.probability for v in model.judge(TEXTS[0], claims)]
    assert list(answer.probabilities.values()) == near(expected)
    assert abs(sum(expected) - 1) > 0.01  # else nothing was tested


def test_a_mapping_puts_descriptions_into_the_template_and_names_into_the_answer(model):
    described = {"a": "the film", "b": "a village", "c": "the dog"}
    by_name = model.classify(TEXTS[0], described, "It is about {}.")
    by_words = model.classify(TEXTS[0], list(described.values()), "It is about {}.")
    assert list(by_name.probabilities) == ["a", "b", "c"]
    assert list(by_name.probabilities.values()) == list(by_words.probabilities.values())
    assert by_name.label in described


def test_a_label_that_looks_like_a_template_is_only_words(model, monkeypatch):
    asked = spied_requests(model, monkeypatch)
    labels = ["{}", "{0.__class__}", "{label}", "{{x}}"]
    answer = model.classify("Some {text} with {} braces", labels, "It says {}.")
    assert list(answer.probabilities) == labels
    assert asked[0].claims == tuple(f"It says {label}." for label in labels)
    assert asked[0].context == ("Some {text} with {} braces",)


def test_below_the_threshold_there_is_no_label_but_the_rest_stays(model):
    free = model.classify(TEXTS[0], LABELS)
    own = model.judge(TEXTS[0], DEFAULT_TEMPLATE.format(free.label)).probability
    under = model.classify(TEXTS[0], LABELS, threshold=own - 1e-4)
    over = model.classify(TEXTS[0], LABELS, threshold=own + 1e-4)
    assert under == free
    assert over.label is None
    assert (over.probability, over.probabilities) == (free.probability, free.probabilities)
    assert model.classify(TEXTS[0], LABELS, threshold=0).label == free.label
    assert model.classify(TEXTS[0], LABELS, threshold=1).label is None


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_threshold_out_of_range_is_refused(model, threshold):
    with pytest.raises(InputError, match="threshold must be between 0 and 1"):
        model.classify(TEXTS[0], LABELS, threshold=threshold)


# -- score -----------------------------------------------------------------------------------------

LEVELS = ["bad", "fair", "good"]
QUESTION = "How good is the film?"


def test_score_is_the_expected_level(model):
    answer = model.score(TEXTS[1], QUESTION, LEVELS)
    assert isinstance(answer, Score)
    assert list(answer.probabilities) == LEVELS
    shares = list(answer.probabilities.values())
    assert sum(shares) == pytest.approx(1.0, abs=1e-12)
    assert answer.value == pytest.approx(shares[1] + 2 * shares[2], abs=1e-9)
    assert answer.level == max(answer.probabilities, key=answer.probabilities.get)


def test_score_asks_the_question_with_each_level_as_its_answer(model, monkeypatch):
    asked = spied_requests(model, monkeypatch)
    model.score(TEXTS[1], f" {QUESTION} ", {"0": "bad", "1": "fine!", "2": "good."})
    assert asked[0].claims == (f"{QUESTION} bad.", f"{QUESTION} fine!", f"{QUESTION} good.")


def test_reversed_levels_reverse_the_value_only(model):
    up, down = (model.score(TEXTS[1], QUESTION, levels) for levels in (LEVELS, LEVELS[::-1]))
    assert up.value + down.value == near(2.0)
    assert up.level == down.level
    assert up.probabilities == near(down.probabilities)


def test_several_texts_are_scored_as_each_alone(model):
    values = [answer.value for answer in model.score(TEXTS, QUESTION, LEVELS)]
    assert values == near([model.score(text, QUESTION, LEVELS).value for text in TEXTS])


# -- rank ------------------------------------------------------------------------------------------


def test_rank_orders_by_the_relevance_claim(model, monkeypatch):
    asked = spied_requests(model, monkeypatch)
    ranked = model.rank("Where is the cat?", TEXTS)
    assert all(isinstance(item, Ranked) for item in ranked)
    assert sorted(item.index for item in ranked) == [0, 1, 2]
    assert [item.document for item in ranked] == [TEXTS[item.index] for item in ranked]
    shares = [item.probability for item in ranked]
    assert shares == sorted(shares, reverse=True)
    assert [r.context for r in asked] == [("Where is the cat?", text) for text in TEXTS]
    assert {r.claims for r in asked} == {(RELEVANCE_CLAIM,)}


def test_a_document_that_was_cut_or_read_in_windows_is_said_to_be(freelm_folder):
    documents = [TEXTS[0], TEXTS[1] * 60]
    for way in ("truncate", "windows"):
        model = FreeLM.from_pretrained(freelm_folder, long_texts=way, max_context_tokens=60)
        short, long = sorted(model.rank("Where?", documents), key=lambda item: item.index)
        assert (short.truncated, short.windows) == (False, 1)
        assert long.truncated == (way == "truncate")
        assert (long.windows > 1) == (way == "windows")


def test_equal_documents_keep_their_order(model):
    ranked = model.rank("Where?", [TEXTS[0], TEXTS[1], TEXTS[0]])
    assert [i.index for i in ranked if i.document == TEXTS[0]] == [0, 2]


# -- decide ----------------------------------------------------------------------------------------

QUESTIONS = {
    "is it": {"claim": CLAIMS[0]},
    "which": {"labels": LABELS, "template": "It is about {}."},
    "which by default": {"labels": {"a": "film", "b": "dog"}},
    "how much": {"question": QUESTION, "levels": LEVELS},
    "is it again": {"claim": CLAIMS[0]},
}


def test_decide_equals_the_single_calls(model):
    answers = model.decide(TEXTS[0], QUESTIONS)
    assert list(answers) == list(QUESTIONS)
    assert answers["is it"].probability == near(model.judge(TEXTS[0], CLAIMS[0]).probability)
    assert answers["is it"].claim == CLAIMS[0]
    which = model.classify(TEXTS[0], LABELS, "It is about {}.")
    assert answers["which"].label == which.label
    assert answers["which"].probabilities == near(which.probabilities)
    default = model.classify(TEXTS[0], {"a": "film", "b": "dog"})
    assert answers["which by default"].probabilities == near(default.probabilities)
    score = model.score(TEXTS[0], QUESTION, LEVELS)
    assert answers["how much"].value == near(score.value)
    assert answers["how much"].level == score.level
    assert answers["is it again"] == answers["is it"]


def test_decide_computes_the_state_once(model, monkeypatch):
    asked = spied_requests(model, monkeypatch)
    model.decide(TEXTS[0], QUESTIONS)
    assert len(asked) == 1
    assert len(set(asked[0].claims)) == len(asked[0].claims) == 1 + 3 + 2 + 3


def test_decide_takes_several_texts(model):
    for text, answers in zip(TEXTS, model.decide(TEXTS, QUESTIONS), strict=True):
        alone = model.decide(text, QUESTIONS)
        assert list(answers) == list(alone)
        assert answers["which"].probabilities == near(alone["which"].probabilities)


def test_decide_says_that_the_state_was_cut(freelm_folder):
    short = FreeLM.from_pretrained(freelm_folder, max_context_tokens=16)
    assert all(answer.truncated for answer in short.decide(TEXTS[0] * 9, QUESTIONS).values())
    assert not any(answer.truncated for answer in short.decide("A cat", QUESTIONS).values())


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"claims": ["a"]},
        {"claim": 5},
        {"claim": "a", "labels": ["a", "b"]},
        {"claim": "a", "colour": 1},
        {"claim": " "},
        {"labels": ["a"]},
        {"labels": ["a", "a"]},
        {"labels": ["a", "b"], "template": "no place"},
        {"question": "How?"},
        {"levels": ["a", "b"]},
        {"question": 1, "levels": ["a", "b"]},
        {"question": " ", "levels": ["a", "b"]},
        "is it?",
        None,
    ],
)
def test_a_question_of_no_known_form_is_named(model, question):
    with pytest.raises(InputError, match=r"^question 'mine': "):
        model.decide(TEXTS[0], {"good": {"claim": "a"}, "mine": question})


@pytest.mark.parametrize("questions", [["is it?"], "is it?", None])
def test_questions_must_be_a_mapping(model, questions):
    with pytest.raises(InputError, match="questions must be a mapping"):
        model.decide(TEXTS[0], questions)


# -- checks ----------------------------------------------------------------------------------------


def test_check_compares_three_claims_about_the_statement(model):
    answer = model.check(TEXTS[0], CLAIMS[0])
    assert isinstance(answer, Check)
    assert sum(answer.probabilities.values()) == near(1)
    assert answer.result == max(answer.probabilities, key=answer.probabilities.get)
    verdicts = model.judge(TEXTS[0], list(check_claims(CLAIMS[0]).values()))
    assert (
        answer.result
        == list(answer.probabilities)[max(range(3), key=lambda i: verdicts[i].probability)]
    )
    assert [found.claim for found in model.check(TEXTS, CLAIMS[0])] == [CLAIMS[0]] * 3


# -- strings of other libraries --------------------------------------------------------------------


class Series:
    """What a pandas series is to us: no sequence, but `tolist`."""

    def __init__(self, values):
        self._values = values

    def tolist(self):
        return self._values


@pytest.mark.parametrize("wrap", [np.array, Series, tuple, lambda v: np.array(v, dtype=object)])
def test_arrays_and_series_of_strings_are_lists_of_texts(model, wrap):
    texts, claims, labels = wrap(TEXTS), wrap(CLAIMS), wrap(LABELS)
    assert model.judge(texts, claims) == model.judge(TEXTS, CLAIMS)
    assert model.classify(texts, labels) == model.classify(TEXTS, LABELS)
    assert model.score(texts, QUESTION, wrap(LEVELS)) == model.score(TEXTS, QUESTION, LEVELS)
    assert model.rank(QUESTION, texts) == model.rank(QUESTION, TEXTS)
    assert model.generate(texts, max_new_tokens=3) == model.generate(TEXTS, max_new_tokens=3)


def test_a_numpy_string_is_a_text_and_becomes_a_plain_one(model):
    text, claim = np.array(TEXTS)[0], np.array(CLAIMS)[0]
    assert type(text) is not str
    assert model.judge(text, claim) == model.judge(TEXTS[0], CLAIMS[0])
    assert type(model.judge(text, claim).claim) is str
    answer = model.classify(text, list(np.array(LABELS)))
    assert {type(label) for label in answer.probabilities} == {str}


@pytest.mark.parametrize("texts", [np.array(5), np.array([["a"]]), Series([float("nan")])])
def test_arrays_of_anything_else_are_refused(model, texts):
    with pytest.raises(InputError, match="must be a"):
        model.judge(texts, CLAIMS[0])


# -- bad and strange input -------------------------------------------------------------------------


def every_method(model, text):
    return {
        "judge": lambda: model.judge(text, CLAIMS[0]),
        "classify": lambda: model.classify(text, LABELS),
        "score": lambda: model.score(text, QUESTION, LEVELS),
        "rank": lambda: model.rank(text, TEXTS),
        "decide": lambda: model.decide(text, QUESTIONS),
        "generate": lambda: model.generate(text),
    }


METHODS = ["judge", "classify", "score", "rank", "decide", "generate"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is empty"), (" \n\t", "is empty"), ("a\ud800b", "U.D800.*character 1")],
)
def test_bad_text_is_refused_everywhere(model, method, text, message):
    with pytest.raises(InputError, match=message):
        every_method(model, text)[method]()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("text", [None, 5, b"bytes", {"a": 1}])
def test_what_is_no_text_is_refused_everywhere(model, method, text):
    with pytest.raises(InputError, match="must be a"):
        every_method(model, text)[method]()


def test_the_bad_text_of_several_is_named_by_its_place(model):
    with pytest.raises(InputError, match="text 1 is empty"):
        model.judge([TEXTS[0], "", TEXTS[1]], CLAIMS[0])
    with pytest.raises(InputError, match="text 2 must be a string, not float"):
        model.classify([*TEXTS[:2], float("nan")], LABELS)
    with pytest.raises(InputError, match="document 1 is empty"):
        model.rank("Where?", [TEXTS[0], " "])


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: m.judge("a", []), "no claim"),
        (lambda m: m.judge("a", ""), "claim 1 is empty"),
        (lambda m: m.judge("a", ["b", "b "]), "given twice"),
        (lambda m: m.judge("a", None), "claims must be a list"),
        (lambda m: m.judge([], "b"), "no texts"),
        (lambda m: m.classify("a", []), "at least two labels"),
        (lambda m: m.classify("a", ["b"]), "at least two labels"),
        (lambda m: m.classify("a", ["b", "b"]), "'b' is given twice"),
        (lambda m: m.classify("a", "b,c"), "labels must be a list"),
        (lambda m: m.classify("a", {"b": "same", "c": "same"}), "'same' is given twice"),
        (lambda m: m.classify("a", ["b", "\udfff"]), "label 2 .*surrogate"),
        (lambda m: m.classify("a", LABELS, "no place"), "exactly one {}"),
        (lambda m: m.classify("a", LABELS, "{} and {}"), "exactly one {}"),
        (lambda m: m.classify("a", LABELS, "{label}"), "exactly one {}"),
        (lambda m: m.classify("a", LABELS, "{} {0.__class__}"), "exactly one {}"),
        (lambda m: m.classify("a", LABELS, ""), "the template is empty"),
        (lambda m: m.score("a", "", LEVELS), "question is empty"),
        (lambda m: m.score("a", QUESTION, ["b"]), "at least two"),
        (lambda m: m.rank("a", []), "no documents"),
        (lambda m: m.rank("a", "document"), "documents must be a list"),
        (lambda m: m.rank("a", None), "documents must be a list"),
        (lambda m: m.decide("a", {}), "no questions"),
    ],
)
def test_bad_questions_are_refused(model, ask, message):
    with pytest.raises(InputError, match=message):
        ask(model)


def test_a_million_characters_are_answered_and_said_to_be_cut(model):
    answer = model.classify("lorem ipsum " * 83_334, LABELS)
    assert answer.truncated
    assert answer.label in LABELS
    assert not model.classify(TEXTS[0], LABELS).truncated


MARKERS_IN_TEXT = "[cls] [sep] <|true|> <|false|> <|endoftext|>"


def test_markers_in_user_text_are_ordinary_characters(model, monkeypatch):
    seen = []
    own = engine.judge_trees

    def spy(network, trees, *rest):
        seen.extend(trees)
        return own(network, trees, *rest)

    monkeypatch.setattr(engine, "judge_trees", spy)
    text, claims = f"x {MARKERS_IN_TEXT}", [f"It says {MARKERS_IN_TEXT}.", MARKERS_IN_TEXT]
    model.judge(text, claims)
    model.classify(text, [MARKERS_IN_TEXT, "b"], MARKERS_IN_TEXT + " {}")
    model.rank(MARKERS_IN_TEXT, [text])
    form = model.model.network.form
    vocabulary = form.tokenizer.get_vocab()
    sep, cls = vocabulary["[sep]"], vocabulary["[cls]"]
    barred = {form.true_id, form.false_id, vocabulary["<|endoftext|>"]}
    for tree, parts in zip(seen, [1, 1, 2], strict=True):
        assert tree.ids.count(cls) == len(tree.leaves)
        assert all(tree.ids[leaf] == cls for leaf in tree.leaves)
        assert tree.ids.count(sep) == parts
        assert not barred & set(tree.ids)
    assert [len(tree.leaves) for tree in seen] == [2, 2, 1]


# -- untrained bases -------------------------------------------------------------------------------


def test_an_untrained_base_is_judged_by_a_prompt(tiny_base_folder):
    base = FreeLM.from_pretrained(tiny_base_folder)
    assert base.facts.markers == {}
    network = base.model.network
    prompt = f"Text: {TEXTS[0]}\nStatement: {CLAIMS[0]}\nIs the statement true or false? Answer:"
    encode = network.tokenizer.encode
    with torch.no_grad():
        logits = network.causal(torch.tensor([encode(prompt)])).logits[0, -1]
    false, true = (encode(word)[0] for word in (" False", " True"))
    expected = torch.sigmoid(logits[true] - logits[false])
    assert base.judge(TEXTS[0], CLAIMS[0]).probability == near(float(expected))


def test_with_prompt_changes_the_prompt_and_nothing_else(tiny_base_folder):
    base = FreeLM.from_pretrained(tiny_base_folder, max_context_tokens=40)
    first = base.judge(TEXTS[0], CLAIMS)
    for name in PROMPTS:
        asked = FreeLM.from_pretrained(tiny_base_folder, prompt=name, max_context_tokens=40)
        other = base.with_prompt(name)
        assert other.judge(TEXTS[0], CLAIMS) == asked.judge(TEXTS[0], CLAIMS)
        assert other.judge(TEXTS[0] * 20, CLAIMS)[0].truncated
    assert base.with_prompt("yes-or-no").judge(TEXTS[0], CLAIMS) != first
    assert base.judge(TEXTS[0], CLAIMS) == first


def test_an_unknown_prompt_is_refused_with_the_near_one(tiny_base_folder):
    with pytest.raises(ModelError, match="unknown prompt 'yes-no'; did you mean 'yes-or-no'"):
        FreeLM.from_pretrained(tiny_base_folder, prompt="yes-no")
    with pytest.raises(ModelError, match="unknown prompt"):
        FreeLM.from_pretrained(tiny_base_folder).with_prompt("")


def test_a_context_limit_without_room_is_refused_by_its_name(freelm_folder):
    with pytest.raises(InputError, match="max_context_tokens is 3; it must be at least 8"):
        FreeLM.from_pretrained(freelm_folder, max_context_tokens=3)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="is not a model folder"):
        FreeLM.from_pretrained(tmp_path)


def spied_requests(model, monkeypatch):
    asked = []
    own = model._judge.judge

    def spy(requests):
        asked.extend(requests)
        return own(requests)

    monkeypatch.setattr(model._judge, "judge", spy)
    return asked


# -- devices ---------------------------------------------------------------------------------------

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cudaa", "device is 'cudaa'; it must be cpu, cuda, or one of several GPUs such as cuda:1"),
        ("", "device is ''; it must be cpu"),
        ("cpu:1", "device is 'cpu:1'; it must be cpu, cuda"),
        ("cuda:one", "device is 'cuda:one'; it must be cpu"),
        ("meta", "device is 'meta', and no such GPU is here"),
        ("cuda:99", "device is 'cuda:99', and no such GPU is here"),
        pytest.param("cuda", "device is 'cuda', and no such GPU is here", marks=NO_GPU),
    ],
)
def test_a_device_that_is_not_there_is_refused_before_weights_are_read(
    freelm_folder, monkeypatch, device, message
):
    monkeypatch.setattr(predictor, "load_model", None)
    with pytest.raises(ModelError) as told:
        FreeLM.from_pretrained(freelm_folder, device=device)
    assert str(told.value).startswith(message)
    assert "\n" not in str(told.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 1e-4), ("bf16", 0.05)])
def test_a_gpu_answers_as_the_cpu_does(freelm_folder, dtype, tolerance):
    texts = [*TEXTS, TEXTS[2] * 20]
    there, here = (
        FreeLM.from_pretrained(freelm_folder, dtype=dtype, device=device).classify(
            texts, [f"label {n}" for n in range(70)], multi=True
        )
        for device in ("cuda", "cpu")
    )
    for one, other in zip(there, here, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=tolerance)


# -- compiled --------------------------------------------------------------------------------------


def test_a_compiled_model_stays_compiled_under_another_prompt(tiny_base_folder, monkeypatch):
    used = []

    def pretend(function, dynamic):
        return lambda **arguments: used.append(1) or function(**arguments)

    plain = FreeLM.from_pretrained(tiny_base_folder)
    monkeypatch.setattr(torch, "compile", pretend)
    base = FreeLM.from_pretrained(tiny_base_folder, compile=True)
    assert base.judge(TEXTS[0], CLAIMS) == plain.judge(TEXTS[0], CLAIMS)
    before = len(used)
    other = base.with_prompt("yes-or-no")
    assert other.judge(TEXTS[0], CLAIMS) == plain.with_prompt("yes-or-no").judge(TEXTS[0], CLAIMS)
    assert len(used) == before + 1
