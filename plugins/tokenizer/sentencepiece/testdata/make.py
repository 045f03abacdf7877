"""Writes the models and ids that sentencepiece_test.cpp compares with, using the Python sentencepiece library.

Run it by hand when the cases change; the test needs no Python. The files here were made with sentencepiece 0.2.3.
"""
import io
import json
import pathlib

import sentencepiece

HERE = pathlib.Path(__file__).parent
LINES = [
    "The quick brown fox jumps over the lazy dog.", "    for (int i = 0; i < n; ++i) {", "        sum += values[i];", "    }",
    "return sum / n;", "It was the best of times, it was the worst of times.", "Die Würde des Menschen ist unantastbar.",
    "def main():", "\tprint('hello, world')", "x = 3.14159 * r ** 2", "naïve café — “quoted” text…",
    "the theory of the thing that there is"] * 4
TEXTS = [
    "", "the quick brown fox", " leading and trailing  ", "    if (x == 10) {\n        return 42;\n    }\n", "\n\n\n",
    "tab\tand\r\nCRLF", "Würde naïve café", "日本語 \U0001F600 emoji", "a\u2581b \u2581\u2581", "nul\0byte", "   \n   \n  x",
    "mixed\u00a0nbsp", "0123456789 3.14", "the the the theory thethe", "\u2028 separator", "e\u0301 combining"]


def write(name, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=model, normalization_rule_name="identity", hard_vocab_limit=False,
        minloglevel=2, **options)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    cases = [{"text": t, "ids": processor.encode(t), "decoded": processor.decode(processor.encode(t))} for t in TEXTS]
    (HERE / f"{name}.model").write_bytes(model.getvalue())
    (HERE / f"{name}.ids.json").write_text(json.dumps(cases, indent=0) + "\n")


write("code_bpe", vocab_size=420, model_type="bpe", byte_fallback=True, add_dummy_prefix=False, remove_extra_whitespaces=False,
      split_digits=True, allow_whitespace_only_pieces=True, character_coverage=1.0, pad_id=3)
write("prose_unigram", vocab_size=120, model_type="unigram")
write("prose_bpe", vocab_size=120, model_type="bpe")
