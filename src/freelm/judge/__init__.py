"""From a question to claims, judgements and answers."""
