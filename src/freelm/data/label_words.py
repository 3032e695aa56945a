"""How label words are written in tokens: after the text, and closed by an end.

The end makes them comparable by likelihood: no words are then the beginning of other ones.
"""

from dataclasses import replace

from freelm.data.text import document_separator
from freelm.data.tokens import TextForm, encode_text


def label_word_form(form: TextForm) -> TextForm:
    """The form of fine-tuning: `{context} [sep] {label words}` and the end-of-text token.

    Args:
        form: FreeLM's own form, which ends claims in `[cls]`.
    """
    return replace(form, end=(document_separator(form.tokenizer),))


def plain_form(form: TextForm) -> TextForm:
    """The form of in-context learning, without markers: parts on lines, `Answer:`, an empty line.

    Args:
        form: Any form of the tokenizer.
    """
    joint, turn, end = (
        tuple(encode_text(form.tokenizer, text)) for text in ("\n", "\nAnswer:", "\n\n")
    )
    return replace(form, start=(), joint=joint, turn=turn, end=end)
