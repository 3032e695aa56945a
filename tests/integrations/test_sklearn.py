import importlib
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks, get_tags

from freelm.api import FreeLM
from freelm.errors import FreeLMError, InputError
from freelm.integrations.sklearn import TEMPLATES, FreeLMClassifier

TEXTS = ["The cat sleeps.", "Rain and wind.", "A dog is there.", "Snow in the village."] * 3
CLASSES = ["pets", "weather"] * 6

APPLICABLE = (
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_mixin_order",
    "check_get_params_invariance",
    "check_set_params",
    "check_parameters_default_constructible",
    "check_do_not_raise_errors_in_init_or_set_params",
)
"""scikit-learn's checks that apply. All others call `fit` or `predict` with a table of numbers;
`parametrize_with_checks` itself skips estimators that do not take one."""


@pytest.fixture
def classifier(freelm_folder: Path) -> FreeLMClassifier:
    return FreeLMClassifier(str(freelm_folder), dtype="fp32", device="cpu")


@pytest.mark.parametrize("name", APPLICABLE)
def test_scikit_learns_own_check(classifier: FreeLMClassifier, name: str) -> None:
    check: Any = getattr(estimator_checks, name)
    by_default = name == "check_parameters_default_constructible"
    check("FreeLMClassifier", FreeLMClassifier() if by_default else classifier)


def test_scikit_learn_knows_that_texts_are_classified(classifier: FreeLMClassifier) -> None:
    tags = get_tags(classifier)
    assert tags.estimator_type == "classifier"
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array


def test_without_rows_it_predicts_as_classify_does(
    classifier: FreeLMClassifier, freelm_folder: Path
) -> None:
    model = FreeLM.from_pretrained(freelm_folder, dtype="fp32", device="cpu")
    fitted = classifier.fit(None, ["weather", "pets", "money"])
    assert fitted.classes_.tolist() == ["money", "pets", "weather"]
    answers = model.classify(TEXTS[:3], ["weather", "pets", "money"])
    expected = [[answer.probabilities[name] for name in fitted.classes_] for answer in answers]
    np.testing.assert_allclose(fitted.predict_proba(TEXTS[:3]), expected, atol=1e-6)
    assert fitted.predict(TEXTS[:3]).tolist() == [answer.label for answer in answers]


def test_descriptions_take_the_place_of_classes(
    classifier: FreeLMClassifier, freelm_folder: Path
) -> None:
    words = {0: "a cat", 1: "the weather"}
    fitted = classifier.set_params(labels=words).fit(None, [0, 1])
    model = FreeLM.from_pretrained(freelm_folder, dtype="fp32", device="cpu")
    answer = model.classify(TEXTS[0], ["a cat", "the weather"])
    np.testing.assert_allclose(
        fitted.predict_proba(TEXTS[:1])[0], list(answer.probabilities.values()), atol=1e-6
    )
    assert fitted.predict(TEXTS[:1])[0] in (0, 1)


def _cross_entropy(classifier: FreeLMClassifier) -> float:
    columns = np.searchsorted(classifier.classes_, CLASSES)
    return float(-np.log(classifier.predict_proba(TEXTS)[range(len(TEXTS)), columns]).mean())


def test_rows_make_the_fit_better_than_zero_shot_and_no_worse_than_each_template(
    classifier: FreeLMClassifier,
) -> None:
    before = _cross_entropy(clone(classifier).fit(None, ["pets", "weather"]))
    after = _cross_entropy(classifier.fit(TEXTS, CLASSES))
    assert after < before
    assert classifier.template_ in TEMPLATES
    assert classifier.biases_.shape == (2,)


def test_the_best_template_is_chosen(classifier: FreeLMClassifier) -> None:
    alone = {}
    for template in TEMPLATES:
        fitted = clone(classifier).set_params(templates=[template]).fit(TEXTS, CLASSES)
        alone[template] = _cross_entropy(fitted)
    assert classifier.fit(TEXTS, CLASSES).template_ == min(alone, key=lambda name: alone[name])


def test_rows_of_one_class_more_often_raise_its_bias(classifier: FreeLMClassifier) -> None:
    fitted = classifier.fit(["The same text."] * 10, ["pets"] * 9 + ["weather"])
    assert fitted.biases_[0] > fitted.biases_[1]
    assert fitted.predict(["The same text."]).tolist() == ["pets"]


def test_it_goes_through_pipelines_cross_validation_and_grid_search(
    classifier: FreeLMClassifier,
) -> None:
    strip = FunctionTransformer(lambda texts: [text.strip() for text in texts])
    pipeline = make_pipeline(strip, classifier)
    assert cross_val_score(pipeline, np.array(TEXTS), CLASSES, cv=2).shape == (2,)
    grid = {"freelmclassifier__templates": [[TEMPLATES[0]], [TEMPLATES[1]]]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(np.array(TEXTS), CLASSES)
    assert search.predict(TEXTS[:2]).shape == (2,)


def test_a_pickle_names_the_model_and_holds_no_weights(
    classifier: FreeLMClassifier, freelm_folder: Path
) -> None:
    fitted = classifier.fit(TEXTS, CLASSES)
    data = pickle.dumps(fitted)
    assert len(data) < 3000
    assert str(freelm_folder).encode() in data
    again = pickle.loads(data)
    np.testing.assert_array_equal(again.predict_proba(TEXTS), fitted.predict_proba(TEXTS))


def test_no_texts_give_no_rows(classifier: FreeLMClassifier) -> None:
    assert classifier.fit(None, ["a", "b"]).predict_proba([]).shape == (0, 2)


def test_scikit_learn_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    monkeypatch.delitem(sys.modules, "freelm.integrations.sklearn")
    with pytest.raises(FreeLMError, match=r"pip install 'freelm\[sklearn\]'"):
        importlib.import_module("freelm.integrations.sklearn")


def test_it_must_be_fitted(classifier: FreeLMClassifier) -> None:
    with pytest.raises(NotFittedError):
        classifier.predict(TEXTS)


@pytest.mark.parametrize(
    ("changes", "texts", "classes", "message"),
    [
        ({}, ["one"], ["a", "b"], "1 texts have 2 classes"),
        ({}, ["one", ""], ["a", "b"], "text 1"),
        ({}, "one", ["a", "b"], "X must be a list"),
        ({"labels": {"a": "x"}}, None, ["a", "b"], "no words for class 'b'"),
        ({"templates": []}, None, ["a", "b"], "at least one template"),
        ({"templates": "{}"}, None, ["a", "b"], "at least one template"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    classifier: FreeLMClassifier, changes: dict[str, Any], texts: Any, classes: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        classifier.set_params(**changes).fit(texts, classes)
