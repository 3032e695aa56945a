"""Token forms of label words, which follow the text and end in a fixed token.

Because of that token no label's words are a prefix of another's, so their likelihoods are
comparable.
"""

from dataclasses import replace

from freelm.data.text import document_separator
from freelm.data.tokens import TextForm, encode_text


def label_word_form(form: TextForm) -> TextForm:
    """The form of fine-tuning: `{context} [sep] {label words}` and the end-of-text token.

    Args:
        form: FreeLM's own form, in which claims end with `[cls]`.
    """
    return replace(form, end=(document_separator(form.tokenizer),))


def plain_form(form: TextForm) -> TextForm:
    """The form of in-context learning: no markers, a line per part, `Answer:`, an empty line.

    Args:
        form: Any form of the tokenizer.
    """
    joint, turn, end = (
        tuple(encode_text(form.tokenizer, text)) for text in ("\n", "\nAnswer:", "\n\n")
    )
    return replace(form, start=(), joint=joint, turn=turn, end=end)
