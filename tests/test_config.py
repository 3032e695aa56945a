import math
import typing

import pytest
import yaml
from pydantic import BaseModel

from freelm import config as module
from freelm.config import (
    RunConfig,
    differing_keys,
    load_config,
    parse_config,
    shipped_config,
)
from freelm.errors import ConfigError
from tiny_runs import config_data, make_config


@pytest.fixture
def write(tmp_path):
    """`write(data or text)` -> path of a configuration file."""

    def go(content):
        path = tmp_path / "run.yaml"
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        path.write_text(text, encoding="utf-8")
        return path

    return go


def refused(data):
    """The message of a configuration that is refused; it names where it stands, in one line."""
    with pytest.raises(ConfigError) as caught:
        parse_config(data, "run.yaml")
    message = str(caught.value)
    assert message.startswith("run.yaml: ")
    assert "\n" not in message
    return message.removeprefix("run.yaml: ")


def sections(model=RunConfig, path=()):
    """All sections with their places."""
    yield path, model
    for name, field in model.model_fields.items():
        for kind in (field.annotation, *typing.get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from sections(kind, (*path, name))


def fields():
    return [(*path, name) for path, model in sections() for name in model.model_fields]


def field_of(place):
    model = dict(sections())[place[:-1]]
    return model.model_fields[place[-1]]


def numbers(kind):
    """Places of all fields that take a number of a kind."""

    def takes(annotation):
        parts = typing.get_args(annotation)
        if typing.get_origin(annotation) is dict:
            return False
        return annotation is kind or any(map(takes, parts))

    return [p for p in fields() if takes(field_of(p).annotation)]


def placed(place, value):
    """The basic configuration with a value at a place."""
    data = config_data()
    if place[:2] == ("model", "lora"):
        data["model"] = {"base": "x", "lora": {}}
    target = data
    for name in place[:-1]:
        target = target.setdefault(name, {})
    target[place[-1]] = value
    return data


# -- reading -------------------------------------------------------------------------------------


def test_a_file_is_read(write):
    config = load_config(write(config_data()))
    assert config == make_config()
    assert config.train.num_steps == 12
    assert config.optimizer.beta2 == 0.98


def test_numbers_in_scientific_notation(write):
    """YAML reads `1e-3` as text; it is a number all the same."""
    text = yaml.safe_dump(config_data()).replace("learning_rate: 0.01", "learning_rate: 1e-3")
    assert load_config(write(text)).optimizer.learning_rate == 0.001


def test_a_byte_order_mark_is_no_harm(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config_data()), encoding="utf-8-sig")
    assert load_config(path) == make_config()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1, 2", "is not valid YAML"),
        ("a: b: c", "is not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]", "is not valid YAML"),
        ("\t- x", "is not valid YAML"),
        ("", "must be a mapping"),
        ("- name", "must be a mapping"),
        ("just words", "must be a mapping"),
        ("name: a\nseed: 1\nseed: 2", "duplicate key 'seed'"),
        ("train: {num_steps: 1, num_steps: 2}", "duplicate key 'num_steps'"),
    ],
)
def test_what_is_no_configuration_file(write, content, message):
    path = write(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read \(No such file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"name: \xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_config(tmp_path / "binary.yaml")


def test_anchors_and_merged_keys_are_plain_yaml(write):
    text = yaml.safe_dump(config_data()) + "optimizer: &o {learning_rate: 0.5}\n"
    text = text.replace("optimizer:\n  learning_rate: 0.01\n  warmup_steps: 2\n", "")
    assert load_config(write(text)).optimizer.learning_rate == 0.5


def test_a_shipped_configuration_is_found_by_name():
    assert load_config(shipped_config("miniworld")).name == "miniworld"


# -- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [p for p, _ in sections()], ids=lambda p: ".".join(p) or "run")
def test_unknown_keys_are_refused_in_every_section(place):
    data = placed((*place, "nonsense"), 1)
    assert f"{'.'.join((*place, 'nonsense'))}: unknown key" in refused(data)


def test_all_faults_are_named_at_once():
    data = config_data(
        nonsense=1,
        train__num_steps=0,
        optimizer__learning_rate=-1,
        teacher__tasks=[],
        interaction__kind="both",
        language__corpora={"tiny": 0},
    )
    message = refused(data)
    for place in (
        "nonsense: unknown key",
        "train.num_steps: ",
        "optimizer.learning_rate: ",
        "teacher.tasks: ",
        "interaction.kind: ",
        "language.corpora.tiny: ",
    ):
        assert place in message


@pytest.mark.parametrize("place", numbers(float), ids=".".join)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.5, "many", [1.0]])
def test_bad_numbers(place, value):
    assert ".".join(place) in refused(placed(place, value))


@pytest.mark.parametrize("place", numbers(int), ids=".".join)
@pytest.mark.parametrize("value", [-1, 1.5, math.nan, math.inf, "many", [1]])
def test_bad_counts(place, value):
    assert ".".join(place) in refused(placed(place, value))


def test_the_numbers_that_are_tried_are_all_there_are():
    assert len(numbers(float)) >= 13
    assert len(numbers(int)) >= 20
    assert ("optimizer", "clip_norm") in numbers(float)
    assert ("teacher", "cap") in numbers(int)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("optimizer", "beta1"), 1.0),
        (("optimizer", "beta2"), 1.0),
        (("optimizer", "final_fraction"), 1.5),
        (("teacher", "opposite_rate"), 1.01),
        (("teacher", "temperature"), 0),
        (("language", "corpora"), {"tiny": math.nan}),
        (("teacher", "weights"), {"rte": math.inf}),
        (("language", "corpora"), {}),
        (("language", "block_length"), 1),
        (("seed",), 2**32),
        (("name",), "../elsewhere"),
        (("name",), ""),
        (("name",), "a/b"),
        (("train", "tokens_per_batch"), 8),
        (("model", "precision"), "fp16"),
    ],
    ids=str,
)
def test_values_out_of_range(place, value):
    assert ".".join(place) in refused(placed(place, value))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {}}, "model: Value error, give either base or scratch"),
        ({"model": {"base": "x", "scratch": {}}}, "give either base or scratch"),
        ({"model": {"scratch": {}, "lora": {}}}, "lora needs a base"),
        ({"model": {"base": "x", "precision": "int8"}}, "it needs lora"),
        ({"model__scratch__num_heads": 3}, "num_heads 3 does not divide 16"),
        ({"train__keep_best": True}, "keep_best and patience need evaluate_every"),
        ({"train__patience": 2}, "keep_best and patience need evaluate_every"),
        (
            {"interaction": {"kind": "sequential", "language_steps": 12}},
            "language_steps must be smaller than num_steps",
        ),
    ],
)
def test_values_that_do_not_go_together(changes, message):
    assert message in refused(config_data(**changes))


@pytest.mark.parametrize(
    ("kind", "needs"),
    [
        ("alternate", ("language", "teacher")),
        ("mixed", ("language", "teacher")),
        ("sequential", ("language", "teacher")),
        ("language_only", ("language",)),
        ("teacher_only", ("teacher",)),
    ],
)
@pytest.mark.parametrize("missing", ["language", "teacher"])
def test_sections_that_an_interaction_needs(kind, needs, missing):
    data = config_data(interaction={"kind": kind, "language_steps": 2})
    del data[missing]
    if missing in needs:
        assert f"interaction '{kind}' needs a {missing} section" in refused(data)
    else:
        parse_config(data, "run.yaml")


@pytest.mark.parametrize("name", ["name", "model", "train"])
def test_missing_sections(name):
    data = config_data()
    del data[name]
    assert refused(data) == f"{name}: Field required"


@pytest.mark.parametrize("key", ["_target_", "_partial_", "auto_map", "trust_remote_code"])
@pytest.mark.parametrize("place", [(), ("model",), ("model", "scratch"), ("teacher", "weights")])
def test_keys_by_which_other_programs_fetch_code_are_refused(write, key, place):
    data = placed((*place, key), "os.system")
    assert key in refused(data)
    with pytest.raises(ConfigError, match=key):
        load_config(write(data))
    with pytest.raises(ConfigError, match=key):
        load_config(write(config_data()), [f"{'.'.join((*place, key))}=os.system"])


def test_a_mapping_in_place_of_a_task_name_is_refused():
    assert "teacher.tasks.0" in refused(config_data(teacher__tasks=[{"_target_": "x"}]))


# -- overrides -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("seed=7", ("seed",), 7),
        ("train.num_steps=99", ("train", "num_steps"), 99),
        ("optimizer.learning_rate=1e-4", ("optimizer", "learning_rate"), 1e-4),
        ("model.scratch.num_layers=3", ("model", "scratch", "num_layers"), 3),
        ("optimizer.clip_norm=null", ("optimizer", "clip_norm"), None),
        ("optimizer.decay=cosine", ("optimizer", "decay"), "cosine"),
        ("teacher.tasks=[rte, snli]", ("teacher", "tasks"), ["rte", "snli"]),
        ("teacher.weights.rte=2", ("teacher", "weights"), {"rte": 2.0}),
        ("data=some=where", ("data",), "some=where"),
        ("name='007'", ("name",), "007"),
    ],
)
def test_overrides(write, override, place, value):
    found = load_config(write(config_data()), [override])
    for name in place:
        found = getattr(found, name)
    assert found == value


def test_an_override_makes_the_section_it_needs(write):
    data = config_data(model={"base": "x"})
    del data["optimizer"]
    found = load_config(write(data), ["model.lora.rank=4", "optimizer.beta1=0.5"])
    assert (found.model.lora.rank, found.model.lora.alpha) == (4, 32)
    assert found.optimizer.beta1 == 0.5


def test_an_override_makes_a_section_that_is_null(write):
    data = config_data(model={"base": "x", "lora": None})
    assert load_config(write(data), ["model.lora.rank=4"]).model.lora.rank == 4


def test_later_overrides_win(write):
    assert load_config(write(config_data()), ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "--set 'seed': write key.path=value"),
        ("=3", "--set '=3': write key.path=value"),
        ("", "--set '': write key.path=value"),
        ("seed=[1", "--set 'seed=[1': the value is not valid YAML"),
        ("seed.deep=1", "'seed' holds no keys"),
        ("train.num_steps.deep=1", "'num_steps' holds no keys"),
        ("train..num_steps=1", "unknown key"),
        ("nonsense=1", "nonsense: unknown key"),
        ("train.steps=1", "train.steps: unknown key"),
        ("train.num_steps=", "train.num_steps: "),
        ("train.num_steps=-1", "train.num_steps: "),
    ],
)
def test_bad_overrides(write, override, message):
    data = config_data(seed=0)
    with pytest.raises(ConfigError) as caught:
        load_config(write(data), [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# -- comparing and documenting -------------------------------------------------------------------


def test_differing_keys():
    old = make_config()
    assert differing_keys(old, make_config()) == []
    assert differing_keys(old, make_config(seed=3)) == ["seed"]
    changed = make_config(teacher__tasks=["rte"], teacher__weights={"rte": 2.0}, train__keep_last=3)
    assert differing_keys(old, changed) == [
        "teacher.tasks",
        "teacher.weights.rte",
        "train.keep_last",
    ]
    without = config_data(interaction={"kind": "language_only"})
    del without["teacher"]
    keys = differing_keys(old, parse_config(without, "x"))
    assert "teacher" in keys
    assert "interaction.kind" in keys


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        make_config().seed = 3


@pytest.mark.parametrize("place", fields(), ids=".".join)
def test_every_field_is_documented(place):
    if place not in {("model",), ("interaction",), ("optimizer",), ("train",)}:
        text = field_of(place).description
        assert text is not None
        assert text.rstrip().endswith(".")


@pytest.mark.parametrize("model", [m for _, m in sections()], ids=lambda m: m.__name__)
def test_every_section_is_documented(model):
    assert (model.__doc__ or "").strip().endswith(".")
    assert model.__module__ == module.__name__
