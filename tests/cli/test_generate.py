import pytest

from freelm.api import FreeLM


@pytest.fixture
def generate(cli, freelm_folder):
    return lambda *words: cli("generate", *words, "--model", freelm_folder)


def test_the_prompt_and_its_continuation_are_printed(generate, model):
    answer = generate("The film is", "--max-new-tokens", "8")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "The film is" + model.generate("The film is", max_new_tokens=8) + "\n"


def test_options_reach_the_model(generate, model):
    words = ["--max-new-tokens", "8", "--temperature", "2", "--top-p", "0.9", "--seed", "4"]
    expected = model.generate("The film is", 8, 2.0, 0.9, 4)
    assert generate("The film is", *words).out == f"The film is{expected}\n"
    assert expected != model.generate("The film is", 8, 2.0, 0.9, 5)


def test_the_number_type_and_device_reach_the_model(generate, freelm_folder):
    words = ["The film is", "--max-new-tokens", "8", "--device", "cpu", "--dtype", "bf16"]
    expected = FreeLM.from_pretrained(freelm_folder, dtype="bf16").generate("The film is", 8)
    assert generate(*words).out == f"The film is{expected}\n"
    generate("x", "--dtype", "fp8").refused("dtype is 'fp8'")
    generate("x", "--device", "tpu").refused("device is 'tpu'")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["", "--seed", "1"], "prompt is empty"),
        (["x", "--max-new-tokens", "0"], "max_new_tokens must be at least 1"),
        (["x", "--temperature", "-1"], "temperature must be 0"),
        (["x", "--top-p", "0"], "top_p must be above 0"),
        (["x", "--seed", "-1"], "seed must be 0 or more"),
        (["word " * 2000], "the model's window is 512"),
    ],
)
def test_bad_input_is_one_line(generate, words, message):
    generate(*words).refused(message)
