from freelm.data.label_word_form import label_word_form, plain_form
from freelm.data.tokens import MARKERS, freelm_form
from freelm.model.markers import add_markers


def forms(tiny_base):
    model, tokenizer = tiny_base("llama")
    add_markers(model, tokenizer)
    return tokenizer, freelm_form(tokenizer)


def test_fine_tuning_reads_a_text_as_freelm_does_and_ends_words_with_the_end_of_text(tiny_base):
    tokenizer, form = forms(tiny_base)
    own = label_word_form(form)
    assert own.context(("One.", "Two.")) == form.context(("One.", "Two."))
    assert own.claim("positive")[:-1] == form.claim("positive")[:-1]
    assert own.claim("positive")[-1] == tokenizer.eos_token_id
    assert own.claim("a film")[: len(own.claim("a"))] != own.claim("a")


def test_in_context_learning_needs_no_marker(tiny_base):
    tokenizer, form = forms(tiny_base)
    own = plain_form(form)
    ids = [*own.context(("One.", "Two.")).ids, *own.claim("positive")]
    assert tokenizer.decode(ids) == "One.\n Two.\nAnswer: positive\n\n"
    assert not set(ids) & set(tokenizer.convert_tokens_to_ids(list(MARKERS)))
