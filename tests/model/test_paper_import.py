import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from freelm import FreeLM
from freelm.cli.main import run
from freelm.data.tokens import encode_text
from freelm.errors import ModelError
from freelm.judge.requests import Request
from freelm.model.paper_import import import_paper_checkpoint
from freelm.tasks.proposition import Proposition

WIDTH = 16
TEXTS = [
    "The soup was cold and the waiter was rude. Here, the review is positive.",
    "Rain is on its way. The text is about the weather. It is true that it is not.",
]
PROPOSITIONS = [
    Proposition(("The soup was cold.",), "Here, the review is positive."),
    Proposition(("The soup was cold.",), "Here, the review is negative."),
    Proposition(("The soup was cold.",), "The text is about the weather."),
    Proposition(("Rain is on its way.", "It is not cold."), "Here, the review is positive."),
    Proposition(("Rain is on its way.", "It is not cold."), "The first text is true."),
    Proposition(("A [cls] in the text", "and a [sep]", "too"), "The waiter was rude."),
]


@dataclass(frozen=True)
class Reference:
    """The paper's forward pass: a GPT-2 body and a class head read at the last token."""

    model: GPT2LMHeadModel
    head: torch.Tensor
    ids: Callable[[Proposition], list[int]]

    @torch.no_grad()
    def probability(self, proposition: Proposition) -> float:
        ids = torch.tensor([self.ids(proposition)])
        hidden = self.model.transformer(ids).last_hidden_state[:, -1]
        logits = torch.einsum("bd,tdn->btn", hidden, self.head)[:, 0]
        return float(logits.softmax(-1)[0, 1])

    @torch.no_grad()
    def next_token_logits(self, ids: list[int]) -> torch.Tensor:
        return self.model(torch.tensor([ids])).logits[0]


def write_tokenizer(folder: Path, markers: tuple[str, ...], lstrip: bool, special: bool) -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    added = [AddedToken(m, lstrip=lstrip, special=special, normalized=False) for m in markers]
    wrapped.add_tokens(added, special_tokens=special)
    wrapped.save_pretrained(folder)
    return wrapped


def write_checkpoint(
    folder: Path,
    tied: bool = True,
    file: str = "model.safetensors",
    markers: tuple[str, ...] = ("[sep]", "[cls]"),
    lstrip: bool = True,
    special: bool = True,
    edit: Callable[[dict[str, Any]], object] = lambda state: None,
) -> Reference:
    """Write a tiny random checkpoint in the paper's format; `edit` changes its state dict."""
    tokenizer = write_tokenizer(folder, markers, lstrip, special)
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=WIDTH,
        n_layer=2,
        n_head=2,
        n_positions=96,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=tied,
        initializer_range=0.3,
    )
    model = GPT2LMHeadModel(config).eval()
    head = torch.randn(1, WIDTH, 2)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    state |= {"mtc_head.weight": head.clone()}
    state["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
    edit(state)
    facts = {**config.to_dict(), "architectures": ["FreeLMModel"], "num_multi_task_labels": "2"}
    (folder / "config.json").write_text(json.dumps(facts))
    if file.endswith(".safetensors"):
        save_file(state, folder / file)
    else:
        torch.save(state, folder / file)
    sep, cls = (tokenizer.convert_tokens_to_ids(m) for m in ("[sep]", "[cls]"))

    def ids(proposition: Proposition) -> list[int]:
        parts = [*proposition.context, proposition.claim]
        pieces = [
            encode_text(tokenizer, part if i == 0 else f" {part}") for i, part in enumerate(parts)
        ]
        return [*[token for piece in pieces for token in (*piece, sep)][:-1], cls]

    return Reference(model, head, ids)


def judge_singly(model: FreeLM, proposition: Proposition) -> float:
    answer = model.judge_requests([Request(proposition.context, (proposition.claim,))])[0]
    return float(answer.probabilities[0])


def judge_together(model: FreeLM) -> list[float]:
    claims: dict[tuple[str, ...], list[str]] = {}
    for proposition in PROPOSITIONS:
        claims.setdefault(proposition.context, []).append(proposition.claim)
    answers = model.judge_requests([Request(c, tuple(listed)) for c, listed in claims.items()])
    return [float(p) for answer in answers for p in answer.probabilities]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_verdicts_are_those_of_the_papers_code(tmp_path: Path, tied: bool, file: str) -> None:
    reference = write_checkpoint(tmp_path / "paper", tied, file)
    out = import_paper_checkpoint(tmp_path / "paper", tmp_path / "ours")
    model = FreeLM.from_pretrained(out)
    expected = [reference.probability(p) for p in PROPOSITIONS]
    assert max(expected) - min(expected) > 0.1  # else agreement would show nothing
    assert judge_together(model) == pytest.approx(expected, abs=1e-5)
    assert [judge_singly(model, p) for p in PROPOSITIONS] == pytest.approx(expected, abs=1e-5)
    assert model.model.network.causal.config.tie_word_embeddings is tied


def test_stock_tokenizer_and_model_give_the_verdict_of_the_written_form(tmp_path: Path) -> None:
    reference = write_checkpoint(tmp_path / "paper")
    network = FreeLM.from_pretrained(
        import_paper_checkpoint(tmp_path / "paper", tmp_path / "ours")
    ).model.network
    for proposition in PROPOSITIONS[:5]:
        ids = network.tokenizer.encode(proposition.text, add_special_tokens=False)
        assert ids == reference.ids(proposition)
        with torch.no_grad():
            logits = network.causal(torch.tensor([ids])).logits[0, -1]
        verdict = logits[[network.form.false_id, network.form.true_id]].softmax(-1)[1]
        assert float(verdict) == pytest.approx(reference.probability(proposition), abs=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_language_model_is_unchanged(tmp_path: Path, tied: bool) -> None:
    reference = write_checkpoint(
        tmp_path / "paper", tied, edit=lambda state: state["mtc_head.weight"].add_(30.0)
    )
    network = FreeLM.from_pretrained(
        import_paper_checkpoint(tmp_path / "paper", tmp_path / "ours")
    ).model.network
    ids = encode_text(network.tokenizer, " ".join(TEXTS))
    expected = reference.next_token_logits(ids)
    with torch.no_grad():
        logits = network.causal(torch.tensor([ids])).logits[0]
    size = expected.shape[-1]
    torch.testing.assert_close(logits[:, :size], expected, atol=1e-5, rtol=1e-5)
    # The verdict tokens take no more of a position's probability than the margin there allows,
    # though the head's own columns, shifted by 30, would take it all.
    shares = logits.softmax(-1)[:, [network.form.false_id, network.form.true_id]]
    margins = logits[:, network.form.true_id] - logits[:, network.form.false_id]
    bound = (margins.abs() / 2).exp() / size
    assert (shares.max(-1).values <= bound * 1.0001).all()


def test_untied_although_the_configuration_says_tied(tmp_path: Path) -> None:
    changed: dict[str, torch.Tensor] = {}

    def edit(state: dict[str, Any]) -> None:
        state["lm_head.weight"].mul_(-1)
        changed.update(state)

    reference = write_checkpoint(tmp_path / "paper", tied=True, edit=edit)
    model = FreeLM.from_pretrained(import_paper_checkpoint(tmp_path / "paper", tmp_path / "ours"))
    causal = model.model.network.causal
    assert causal.config.tie_word_embeddings is False
    size = len(changed["lm_head.weight"])
    assert torch.equal(causal.lm_head.weight[:size], changed["lm_head.weight"])
    assert torch.equal(causal.transformer.wte.weight[:size], changed["transformer.wte.weight"])
    expected = [reference.probability(p) for p in PROPOSITIONS]
    assert judge_together(model) == pytest.approx(expected, abs=1e-5)


def prefix_names(state: dict[str, Any]) -> None:
    renamed = {f"module.{name}": value for name, value in state.items()}
    state.clear()
    state.update(renamed)


@pytest.mark.parametrize(
    "edit",
    [
        prefix_names,
        lambda state: state.update({"mtc_head.weight": state["mtc_head.weight"][0].clone()}),
        lambda state: state.pop("lm_head.weight"),
    ],
    ids=["module prefix", "head without tasks", "lm_head left out because tied"],
)
def test_variants_of_the_format(tmp_path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    reference = write_checkpoint(tmp_path / "paper", edit=edit)
    model = FreeLM.from_pretrained(import_paper_checkpoint(tmp_path / "paper", tmp_path / "ours"))
    expected = [reference.probability(p) for p in PROPOSITIONS]
    assert judge_together(model) == pytest.approx(expected, abs=1e-5)


def test_half_precision_becomes_fp32(tmp_path: Path) -> None:
    def edit(state: dict[str, Any]) -> None:
        state.update({name: value.half() for name, value in state.items()})

    write_checkpoint(tmp_path / "paper", edit=edit)
    out = import_paper_checkpoint(tmp_path / "paper", tmp_path / "ours")
    stored = load_file(out / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float32}


def test_embedding_with_more_rows_than_tokens(tmp_path: Path) -> None:
    def pad(state: dict[str, Any]) -> None:
        for name in ("transformer.wte.weight", "lm_head.weight"):
            state[name] = torch.cat([state[name], torch.zeros(61, WIDTH)])

    reference = write_checkpoint(tmp_path / "paper", edit=pad)
    path = tmp_path / "paper" / "config.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "vocab_size": facts["vocab_size"] + 61}))
    model = FreeLM.from_pretrained(import_paper_checkpoint(tmp_path / "paper", tmp_path / "ours"))
    expected = [reference.probability(p) for p in PROPOSITIONS]
    assert judge_together(model) == pytest.approx(expected, abs=1e-5)


def test_plain_added_tokens_keep_their_ids_and_are_not_read_out_of_text(tmp_path: Path) -> None:
    # What `tokenizer.add_tokens(["[sep]", "[cls]"])` leaves: not special, blanks kept.
    reference = write_checkpoint(tmp_path / "paper", lstrip=False, special=False)
    said: list[str] = []
    out = import_paper_checkpoint(tmp_path / "paper", tmp_path / "ours", said.append)
    model = FreeLM.from_pretrained(out)
    tokenizer = model.model.network.tokenizer
    last = len(reference.model.transformer.wte.weight) - 1
    assert [model.facts.markers[m] for m in ("[sep]", "[cls]")] == [last - 1, last]
    assert not {last - 1, last} & set(encode_text(tokenizer, "a [cls] b [sep] c"))
    assert len(said) == 1
    assert "blanks" in said[0]
    assert model.facts.record["blanks_read_alike"] is False
    safe = [p for p in PROPOSITIONS if "[cls]" not in p.text.removesuffix("[cls]")]
    assert [judge_singly(model, p) for p in safe] == pytest.approx(
        [reference.probability(p) for p in safe], abs=1e-5
    )


def test_old_tokenizer_files(tmp_path: Path) -> None:
    paper = tmp_path / "paper"
    reference = write_checkpoint(paper)
    stored = json.loads((paper / "tokenizer.json").read_text())
    (paper / "vocab.json").write_text(json.dumps(stored["model"]["vocab"]))
    merges = [
        pair if isinstance(pair, str) else " ".join(pair) for pair in stored["model"]["merges"]
    ]
    (paper / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    added = {t["content"]: t["id"] for t in stored["added_tokens"] if t["content"][0] == "["}
    (paper / "added_tokens.json").write_text(json.dumps(added))
    (paper / "tokenizer.json").unlink()
    (paper / "tokenizer_config.json").unlink()
    model = FreeLM.from_pretrained(import_paper_checkpoint(paper, tmp_path / "ours"))
    assert {m: model.facts.markers[m] for m in added} == added
    expected = [reference.probability(p) for p in PROPOSITIONS]
    assert judge_together(model) == pytest.approx(expected, abs=1e-5)


def test_facts(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "paper")
    facts = FreeLM.from_pretrained(
        import_paper_checkpoint(tmp_path / "paper", tmp_path / "ours")
    ).facts
    assert (facts.kind, facts.base, facts.temperature) == ("full", None, 1.0)
    assert facts.max_context_tokens == 96
    assert facts.record["imported_from"] == "the paper's code"
    assert facts.record["weights"]["file"] == "model.safetensors"
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert config["architectures"] == ["GPT2LMHeadModel"]
    assert "num_multi_task_labels" not in config


def test_imported_model_generates(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "paper")
    model = FreeLM.from_pretrained(import_paper_checkpoint(tmp_path / "paper", tmp_path / "ours"))
    assert isinstance(model.generate("The soup", max_new_tokens=4), str)


# -- errors --------------------------------------------------------------------------------------


def set_head(shape: tuple[int, ...]) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.update({"mtc_head.weight": torch.zeros(shape)})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda state: state.pop("mtc_head.weight"), "has no mtc_head.weight"),
        (set_head((3, WIDTH, 2)), "has 3 tasks"),
        (set_head((1, WIDTH, 3)), "has 3 labels"),
        (set_head((1, WIDTH, 1)), "has 1 labels"),
        (set_head((1, WIDTH + 1, 2)), r"has shape \(1, 17, 2\), expected \(1, 16, 2\)"),
        (set_head((2, WIDTH)), "has shape"),
        (set_head((WIDTH,)), "has shape"),
        (lambda state: state.update({"mtc_head.bias": torch.zeros(1, 2)}), "unknown mtc_head.bias"),
        (lambda state: state.pop("transformer.ln_f.bias"), "has no transformer.ln_f.bias"),
        (lambda state: state.pop("transformer.wte.weight"), "has no transformer.wte.weight"),
        (
            lambda state: state.update({"transformer.wpe.weight": torch.zeros(64, WIDTH)}),
            r"transformer.wpe.weight has shape \(64, 16\), config.json says \(96, 16\)",
        ),
        (
            lambda state: state.update({"lm_head.weight": torch.zeros(7, WIDTH)}),
            "lm_head.weight has shape",
        ),
    ],
)
def test_wrong_tensors(
    tmp_path: Path, edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    write_checkpoint(tmp_path / "paper", edit=edit)
    refuses(tmp_path, f"model.safetensors: .*{message}")


def refuses(tmp_path: Path, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        import_paper_checkpoint(tmp_path / "paper", tmp_path / "ours")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    write_checkpoint(tmp_path / "paper")
    (tmp_path / "paper" / name).unlink()
    shown = {"tokenizer.json": "vocab.json"}.get(name, name)
    refuses(tmp_path, shown)


def test_missing_folder(tmp_path: Path) -> None:
    refuses(tmp_path, "config.json: no such file")


def test_another_architecture(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "paper")
    (tmp_path / "paper" / "config.json").write_text('{"model_type": "llama"}')
    refuses(tmp_path, "model_type is 'llama'")


@pytest.mark.parametrize("text", ["{", "[]", '{"model_type": "gpt2", "n_embd": "wide"}'])
def test_damaged_configuration(tmp_path: Path, text: str) -> None:
    write_checkpoint(tmp_path / "paper")
    (tmp_path / "paper" / "config.json").write_text(text)
    refuses(tmp_path, "config.json")


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_damaged_weights(tmp_path: Path, file: str) -> None:
    write_checkpoint(tmp_path / "paper", file=file)
    path = tmp_path / "paper" / file
    path.write_bytes(path.read_bytes()[:1000])
    refuses(tmp_path, f"{file}: is damaged")


class Opens:
    """What a pickle can do: call a function when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_code_in_a_bin_file_is_never_run(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "paper", file="pytorch_model.bin")
    path = tmp_path / "paper" / "pytorch_model.bin"
    torch.save({"mtc_head.weight": Opens(tmp_path / "ran")}, path)
    refuses(tmp_path, "pytorch_model.bin: is damaged, or holds more than tensors")
    path.write_bytes(pickle.dumps(Opens(tmp_path / "ran"), protocol=2))
    refuses(tmp_path, "pytorch_model.bin: is damaged, or holds more than tensors")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"model": {"a": torch.zeros(1)}}])
def test_bin_file_without_named_tensors(tmp_path: Path, content: Any) -> None:
    write_checkpoint(tmp_path / "paper", file="pytorch_model.bin")
    torch.save(content, tmp_path / "paper" / "pytorch_model.bin")
    refuses(tmp_path, "pytorch_model.bin: holds something else than named tensors")


def test_untied_configuration_without_an_output_embedding(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "paper", tied=False, edit=lambda state: state.pop("lm_head.weight"))
    refuses(tmp_path, r"model.safetensors: has no lm_head.weight")


def test_tokenizer_without_a_marker(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "paper", markers=("[sep]",))
    refuses(tmp_path, r"its tokenizer has no token \[cls\]")


def test_tokenizer_of_another_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "paper")
    write_tokenizer(tmp_path / "paper", ("[sep]", "[cls]", "[more]"), lstrip=True, special=True)
    refuses(tmp_path, "belong to different checkpoints")


def test_damaged_tokenizer(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "paper")
    (tmp_path / "paper" / "tokenizer.json").write_text("{")
    refuses(tmp_path, "its tokenizer cannot be loaded")


def test_never_writes_over_the_checkpoint(tmp_path: Path) -> None:
    paper = tmp_path / "paper"
    write_checkpoint(paper)
    before = (paper / "model.safetensors").read_bytes()
    with pytest.raises(ModelError, match="choose another folder"):
        import_paper_checkpoint(paper, tmp_path / "x" / ".." / "paper")
    assert (paper / "model.safetensors").read_bytes() == before


# -- command -------------------------------------------------------------------------------------


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(tmp_path / "paper")
    out = str(tmp_path / "ours")
    with pytest.raises(SystemExit) as ended:
        run(["data", "import-paper", str(tmp_path / "paper"), "--out", out])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert 0 < FreeLM.from_pretrained(out).judge("It is cold.", "It is true.").probability < 1


def test_command_fails_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["data", "import-paper", str(tmp_path), "--out", str(tmp_path / "ours")])
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("freelm: error: ")
