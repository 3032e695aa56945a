import pytest

SOURCE = "The museum opened in 1911. It is closed on Mondays."
ANSWER = "It opened in 1911. Entry is free."


@pytest.fixture
def ask(cli, freelm_folder):
    return lambda verb, *words, stdin=b"": cli(verb, "--model", freelm_folder, *words, stdin=stdin)


def test_check_prints_each_sentence_with_its_result_and_passage(ask, model):
    found = model.check_answer(ANSWER, SOURCE)
    lines = ask("check", SOURCE, ANSWER).out.splitlines()
    assert len(lines) == 2 * len(found.sentences) == 4
    for one, line in zip(found.sentences, lines[::2], strict=True):
        assert line == f"{one.result:12}  {one.probabilities[one.result]:.3f}  {one.sentence}"
    assert ask("check", "--json", SOURCE, ANSWER).json == [s.as_dict() for s in found.sentences]


def test_check_reads_further_sources_from_files(ask, model, tmp_path):
    more = tmp_path / "more.txt"
    more.write_text("Entry is free for children.\n")
    answer = ask("check", "--from", more, "--json", "-", ANSWER, stdin=SOURCE.encode())
    expected = model.check_answer(ANSWER, [SOURCE, "Entry is free for children."])
    assert answer.json == [sentence.as_dict() for sentence in expected.sentences]


def test_check_needs_a_claim(ask):
    assert ask("check", SOURCE).code == 2


def test_check_names_a_file_that_cannot_be_read(ask, tmp_path):
    ask("check", "--from", tmp_path / "no.txt", "t", "c").refused("no.txt: cannot be read")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    ask("check", "--from", tmp_path / "latin.txt", "t", "c").refused("not UTF-8 (byte 3)")


DOCUMENTS = ["Bring a coat.", "It opens at nine.", "The cat sleeps."]


def test_rank_orders_documents_of_arguments_standard_input_and_files(ask, model, tmp_path):
    expected = [found.as_dict() for found in model.rank("When?", DOCUMENTS)]
    assert ask("rank", "--json", "When?", *DOCUMENTS).json == expected
    lines = "\n".join([*DOCUMENTS, ""]).encode()
    assert ask("rank", "--json", "When?", stdin=lines).json == expected
    (tmp_path / "last.txt").write_text(DOCUMENTS[2])
    mixed = ask("rank", "--json", "--from", tmp_path / "last.txt", "When?", *DOCUMENTS[:2])
    assert mixed.json == expected


def test_rank_shows_the_best(ask, model):
    best = model.rank("When?", DOCUMENTS)[0]
    answer = ask("rank", "--top-n", "1", "When?", *DOCUMENTS)
    assert answer.out == f"{best.probability:.3f}  {best.index}  {best.document}\n"


def test_rank_refuses_no_documents(ask):
    ask("rank", "When?", stdin=b"\n").refused("no documents are given")
