"""One request at a time, to its last token, against transformers."""
