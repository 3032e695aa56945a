import itertools
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers.convert_slow_tokenizer import bytes_to_unicode

import tiny
from freelm.data.text import TokenStream, load_token_stream
from freelm.errors import DataError, ModelError
from freelm.eval.cache import read_cache
from freelm.eval.measure import Setting
from freelm.eval.suites.language import perplexity as language
from freelm.eval.suites.language.perplexity import (
    evaluate_perplexity,
    evaluation_corpora,
    predicts_last_word,
    text_loss,
)
from freelm.eval.texts import Window
from freelm.model.network import FreeLMNetwork
from tiny_freelm import bias_towards, tiny_network

SHORT = "The film is a delight from the first scene to the last."
OTHER = "A cat sleeps on the mat, and the dog is not there."


def write_corpus(root, name, texts, split="test"):
    path = root / "language" / name / f"{split}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": texts}), path)
    return path


def stream_of(tmp_path, network, texts):
    return load_token_stream(write_corpus(tmp_path, "c", texts), network.tokenizer)


def ids(network, text):
    return network.tokenizer.encode(text, add_special_tokens=False)


def stock_loss(network, tokens):
    """Mean next-token loss by Hugging Face's own code."""
    tokens = torch.tensor([tokens])
    with torch.no_grad():
        return float(network.causal(tokens, labels=tokens).loss)


# -- perplexity ------------------------------------------------------------------------------------


def test_perplexity_of_a_document_is_that_of_hugging_face(tmp_path):
    network = tiny_network()
    tokens = [*ids(network, SHORT), network.tokenizer.eos_token_id]
    loss = text_loss(network, stream_of(tmp_path, network, [SHORT]))
    assert loss.perplexity == pytest.approx(math.exp(stock_loss(network, tokens)), rel=1e-5)
    assert loss.targets.tolist() == [len(tokens) - 1]


def test_documents_do_not_see_and_are_not_predicted_from_one_another(tmp_path):
    network = tiny_network()
    end = network.tokenizer.eos_token_id
    both = [[*ids(network, text), end] for text in (SHORT, OTHER)]
    loss = text_loss(network, stream_of(tmp_path, network, [SHORT, OTHER]))
    expected = sum(stock_loss(network, tokens) * (len(tokens) - 1) for tokens in both)
    assert len(loss.nats) == 1
    assert loss.nats[0] == pytest.approx(expected, rel=1e-5)
    assert loss.targets[0] == sum(len(tokens) - 1 for tokens in both)


def test_windows_cut_what_a_token_sees(tmp_path):
    network = tiny_network()
    tokens = [*ids(network, SHORT), network.tokenizer.eos_token_id]
    loss = text_loss(network, stream_of(tmp_path, network, [SHORT]), window=8)
    windows = [tokens[i : i + 8] for i in range(0, len(tokens) - 7, 8)]
    assert loss.targets.tolist() == [7] * len(windows)
    assert loss.nats / 7 == pytest.approx([stock_loss(network, w) for w in windows], rel=1e-4)


def test_a_model_that_knows_nothing_is_as_perplexed_as_its_vocabulary_is_large(tmp_path):
    network = tiny_network()
    with torch.no_grad():
        network.causal.get_output_embeddings().weight.zero_()
    size = network.causal.get_output_embeddings().weight.shape[0]
    loss = text_loss(network, stream_of(tmp_path, network, [SHORT, OTHER]))
    assert loss.perplexity == pytest.approx(size, rel=1e-5)


def test_the_bytes_of_exactly_the_predicted_tokens_are_counted(tmp_path):
    network = tiny_network()
    texts = ["é" * 10 + " xyz", SHORT, "a", OTHER]
    loss = text_loss(network, stream_of(tmp_path, network, texts), window=8)
    end, expected = network.tokenizer.eos_token_id, []
    stream = [token for text in texts for token in (*ids(network, text), end)]
    for start in range(0, len(stream) - 7, 8):
        window = stream[start : start + 8]
        predicted = [b for a, b in itertools.pairwise(window) if a != end and b != end]
        expected.append(sum(len(raw_bytes(network, token)) for token in predicted))
    assert loss.num_bytes.tolist() == expected
    assert loss.bits_per_byte == pytest.approx(loss.nats.sum() / math.log(2) / sum(expected))


def raw_bytes(network, token):
    """The bytes of a token of a byte-level vocabulary, by transformers' own table."""
    decoder = {char: byte for byte, char in bytes_to_unicode().items()}
    return bytes(decoder[char] for char in network.tokenizer.convert_ids_to_tokens(token))


def test_the_limit_bounds_the_windows(tmp_path):
    network = tiny_network()
    told = []
    stream = stream_of(tmp_path, network, [SHORT] * 5)
    loss = text_loss(network, stream, 2, lambda done, total: told.append((done, total)), window=8)
    assert len(loss.nats) == 2
    assert told == [(1, 2), (2, 2)]


def test_a_window_is_never_longer_than_the_models(tmp_path):
    network = tiny_network()
    stream = stream_of(tmp_path, network, [SHORT * 50])
    assert len(stream.tokens) > tiny.MAX_POSITIONS
    loss = text_loss(network, stream, window=4 * tiny.MAX_POSITIONS)
    assert loss.targets.tolist() == [tiny.MAX_POSITIONS - 1] * stream.num_blocks(tiny.MAX_POSITIONS)


# -- LAMBADA ---------------------------------------------------------------------------------------


def make_right(monkeypatch, network, text):
    """Let a network continue one text by heart, and everything else wrongly."""
    tokens = ids(network, text)
    size = network.causal.get_output_embeddings().weight.shape[0]

    def hidden(batch):
        return batch.ids.unsqueeze(-1).float().expand(*batch.ids.shape, 2)

    def logits(states):
        out = torch.zeros(len(states), size)
        for row, token in enumerate(states[:, 0].long().tolist()):
            follows = tokens[tokens.index(token) + 1] if token in tokens[:-1] else 0
            out[row, follows] = 1
        return out

    monkeypatch.setattr(network, "hidden", hidden)
    monkeypatch.setattr(network, "logits", logits)


def test_the_predicts_last_word_when_all_its_tokens_are(monkeypatch):
    network = tiny_network()
    text = "She saw xyz"
    assert len(set(ids(network, text))) == len(ids(network, text))
    assert len(ids(network, " xyz")) > 1
    make_right(monkeypatch, network, text)
    assert predicts_last_word(network, text)
    assert predicts_last_word(network, text + " \n")
    assert not predicts_last_word(network, "She saw xyy")
    assert not predicts_last_word(network, "She saw z")


def test_last_word_is_predicted_from_the_words_before_it():
    network = tiny_network()
    before = "The film is a"
    with torch.no_grad():
        best = int(network.causal(torch.tensor([ids(network, before)])).logits[0, -1].argmax())
    word = next(w for w in ("delight", "cat", "x") if ids(network, f" {w}")[0] != best)
    assert not predicts_last_word(network, f"{before} {word}")
    bias_towards(network, ids(network, " film")[0])
    assert len(ids(network, " film")) == 1
    assert predicts_last_word(network, f"{before} film")


def test_lambada_accuracy_with_its_interval(own_model, monkeypatch, tmp_path):
    texts = ["a b right"] * 3 + ["a b wrong"]
    write_corpus(tmp_path, "lambada", texts)
    monkeypatch.setattr(language, "predicts_last_word", lambda n, text: text.endswith("right"))
    result, *rest = evaluate_perplexity(own_model, None, Setting(tmp_path))
    assert rest == []
    assert (result.task, result.metric, result.value, result.n) == (
        "lambada", "last_word_accuracy", 0.75, 4,
    )  # fmt: skip
    assert 0 <= result.low < 0.75 < result.high <= 1
    limited = evaluate_perplexity(own_model, ["lambada"], Setting(tmp_path, limit=2))[0]
    assert (limited.value, limited.n) == (1.0, 2)


def test_damaged_corpus_is_reported_and_skipped(own_model, tmp_path):
    write_corpus(tmp_path, "lambada", [""])
    write_corpus(tmp_path, "news", [OTHER])
    said = []
    found = evaluate_perplexity(own_model, None, Setting(tmp_path, skip=said.append))
    assert {result.task for result in found} == {"news"}
    assert said[0].startswith("lambada: skipped: ")
    assert "holds no text" in said[0]


def test_lambada_without_a_context_is_refused(own_model):
    with pytest.raises(DataError, match="'word' has no word before its last"):
        predicts_last_word(own_model.model.network, "word")


# -- the suite -------------------------------------------------------------------------------------


def test_every_corpus_with_a_test_split_is_measured(own_model, tmp_path):
    write_corpus(tmp_path, "novels", [SHORT] * 9)
    write_corpus(tmp_path, "news", [OTHER] * 9)
    write_corpus(tmp_path, "only_training", [OTHER], split="train")
    assert evaluation_corpora(tmp_path) == ["news", "novels"]
    results = evaluate_perplexity(own_model, None, Setting(tmp_path))
    assert [(r.task, r.metric) for r in results] == [
        (task, metric) for task in ("news", "novels") for metric in ("perplexity", "bits_per_byte")
    ]
    for result in results:
        assert result.low - 1e-9 <= result.value <= result.high + 1e-9  # one window: all equal
        assert (result.family, result.split, result.majority) == ("language", "test", None)
    stream = load_token_stream(
        tmp_path / "language/novels/test.parquet", own_model.model.network.tokenizer
    )
    loss = text_loss(own_model.model.network, stream)
    novels = {r.metric: r for r in results if r.task == "novels"}
    assert novels["perplexity"].value == loss.perplexity
    assert novels["bits_per_byte"].value == loss.bits_per_byte
    assert novels["perplexity"].n == loss.targets.sum()


def test_only_the_corpora_asked_for_are_measured(own_model, tmp_path):
    write_corpus(tmp_path, "novels", [SHORT])
    write_corpus(tmp_path, "news", [OTHER])
    assert {r.task for r in evaluate_perplexity(own_model, ["news"], Setting(tmp_path))} == {"news"}


def test_what_is_missing_is_named(own_model, tmp_path):
    with pytest.raises(DataError, match="needs a data root"):
        evaluate_perplexity(own_model, None, Setting())
    write_corpus(tmp_path, "news", [OTHER])
    with pytest.raises(DataError, match="novels: no such corpus; available: news"):
        evaluate_perplexity(own_model, ["novels"], Setting(tmp_path))


# -- going on --------------------------------------------------------------------------------------


@pytest.fixture
def stopped(monkeypatch):
    """`stopped(n)`: measuring is interrupted before the window after the n-th; counts windows."""
    measured, own = [], FreeLMNetwork.language_loss

    def stop_after(limit):
        measured.clear()

        def loss(self, batch):
            if len(measured) == limit:
                raise KeyboardInterrupt
            measured.append(batch.num_targets)
            return own(self, batch)

        monkeypatch.setattr(FreeLMNetwork, "language_loss", loss)
        return measured

    return stop_after


@pytest.fixture
def many_windows(tmp_path, monkeypatch):
    """A corpus of a good many short windows."""
    monkeypatch.setattr(language, "WINDOW", 16)
    return write_corpus(tmp_path, "novels", [SHORT, OTHER] * 5)


def test_perplexity_resumes_at_the_next_window(own_model, many_windows, tmp_path, stopped):
    whole = evaluate_perplexity(own_model, None, Setting(tmp_path))
    told = []
    setting = Setting(tmp_path, out=tmp_path / "out", progress=lambda *step: told.append(step))
    stopped(4)
    with pytest.raises(KeyboardInterrupt):
        evaluate_perplexity(own_model, None, setting)
    count = told[-1][2]
    assert told == [("novels", done, count) for done in (1, 2, 3, 4)]
    told.clear()
    measured = stopped(None)
    assert evaluate_perplexity(own_model, None, setting) == whole
    assert len(measured) == count - 4 > 0
    assert told == [("novels", done, count) for done in range(4, count + 1)]
    measured = stopped(0)
    assert evaluate_perplexity(own_model, None, setting) == whole
    assert measured == []


def test_more_windows_extend_the_cache_and_fewer_reuse_it(
    own_model, many_windows, tmp_path, stopped
):
    few, many = (Setting(tmp_path, limit=n, out=tmp_path / "out") for n in (3, 5))
    first = evaluate_perplexity(own_model, None, few)
    measured = stopped(None)
    evaluate_perplexity(own_model, None, many)
    assert len(measured) == 2
    assert evaluate_perplexity(own_model, None, few) == first
    assert len(measured) == 2


def test_windows_of_another_text_or_model_are_measured_again(
    own_model, many_windows, tmp_path, stopped, model
):
    setting = Setting(tmp_path, out=tmp_path / "out")
    measured = stopped(None)
    evaluate_perplexity(own_model, None, setting)
    count = len(measured)
    evaluate_perplexity(model, None, setting)
    assert len(measured) == 2 * count
    write_corpus(tmp_path, "novels", [OTHER, SHORT] * 5)
    found = evaluate_perplexity(model, None, setting)
    assert len(measured) > 2 * count
    assert found == evaluate_perplexity(model, None, Setting(tmp_path))


def test_cache_key_states_the_measured_windows(own_model, many_windows, tmp_path):
    def key(limit):
        evaluate_perplexity(own_model, None, Setting(tmp_path, limit, tmp_path / "out"))
        path = tmp_path / "out" / "texts" / "novels.test.perplexity.jsonl"
        return read_cache(path, Window.parse)[0]

    first = key(2)
    assert first["window"] == 16
    assert key(3) == first
    write_corpus(tmp_path, "novels", [SHORT, OTHER] * 4 + [SHORT, OTHER[:-1] + "!"])
    assert key(2)["tokens"] != first["tokens"]


def test_windows_are_named_by_their_own_length(own_model, tmp_path):
    write_corpus(tmp_path, "news", [OTHER])
    evaluate_perplexity(own_model, None, Setting(tmp_path, out=tmp_path / "out"))
    key, _ = read_cache(tmp_path / "out" / "texts" / "news.test.perplexity.jsonl", Window.parse)
    assert key["window"] == len(ids(own_model.model.network, OTHER)) + 1


def test_markers_of_a_tokenizer_change_no_tokens_of_a_text(own_model, tmp_path):
    path = write_corpus(tmp_path, "news", [OTHER])
    with_markers = own_model.model.network.tokenizer
    without = tiny.make_tokenizer()
    assert len(without) < len(with_markers)
    one, other = (
        language._token_digest(load_token_stream(path, t)) for t in (with_markers, without)
    )
    assert one == other


@pytest.mark.parametrize(
    "change",
    [{"nats": math.nan}, {"nats": -1.0}, {"nats": "1"}, {"targets": -1}, {"targets": 1.5}],
)
def test_a_damaged_window_is_not_believed(own_model, many_windows, tmp_path, change):
    setting = Setting(tmp_path, out=tmp_path / "out")
    evaluate_perplexity(own_model, None, setting)
    (file,) = (tmp_path / "out" / "texts").iterdir()
    lines = file.read_text().split("\n")
    lines[2] = json.dumps({**json.loads(lines[2]), **change})
    file.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"novels\.test\.perplexity\.jsonl: has a damaged line"):
        evaluate_perplexity(own_model, None, setting)


def test_non_finite_loss_is_reported_and_not_cached(own_model, tmp_path, monkeypatch):
    write_corpus(tmp_path, "news", [OTHER])
    monkeypatch.setattr(FreeLMNetwork, "language_loss", lambda self, batch: torch.tensor(math.nan))
    with pytest.raises(ModelError, match="window 0: the model's loss is not a finite number"):
        evaluate_perplexity(own_model, None, Setting(tmp_path, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_text_without_anything_to_predict_is_refused(own_model, tmp_path):
    network = own_model.model.network
    ends = np.arange(1, 9)
    stream = TokenStream(np.full(8, network.tokenizer.eos_token_id), ends, 8)
    with pytest.raises(DataError, match="no token that follows"):
        text_loss(network, stream)


def test_predicted_last_words_are_cached(own_model, monkeypatch, tmp_path):
    write_corpus(tmp_path, "lambada", ["a b right", "a b wrong", "a b right", "a b right"])
    guessed, told = [], []

    def guess(network, text):
        if len(guessed) == 3:
            raise KeyboardInterrupt
        guessed.append(text)
        return text.endswith("right")

    monkeypatch.setattr(language, "predicts_last_word", guess)
    setting = Setting(tmp_path, out=tmp_path / "out", progress=lambda *step: told.append(step))
    with pytest.raises(KeyboardInterrupt):
        evaluate_perplexity(own_model, None, setting)
    guessed.clear()
    (result,) = evaluate_perplexity(own_model, None, setting)
    assert (result.value, result.n) == (0.75, 4)
    assert guessed == ["a b right"]
    assert told[-1] == ("lambada", 4, 4)
    file = tmp_path / "out" / "texts" / "lambada.test.last-word.jsonl"
    file.write_text(file.read_text().replace("false", '"no"'))
    with pytest.raises(DataError, match="has a damaged line"):
        evaluate_perplexity(own_model, None, setting)
