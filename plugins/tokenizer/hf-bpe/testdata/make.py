"""Writes the tokenizers, texts and ids that hf_bpe_test.cpp compares with, using Hugging Face's tokenizers.

    PYTHONPATH=.deps/oracles python3 plugins/tokenizer/hf-bpe/testdata/make.py

Run it by hand when the cases change; the test needs no Python. The files here were made with tokenizers 0.23.3; how the
families split and where the texts come from stands in tests/golden/tokenizer/families.py.
"""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[3] / "tests/golden/tokenizer"))
import families  # noqa: E402

WORDS = ["the quick brown fox", "func main() {\n\tfmt.Println(\"hello, world\", x[1:2])\n}\n", "naïve café — “quoted”", "1234567 3.14",
         "Die Würde des Menschen", "日本語のテキスト", "привет мир", "if (x == 10) {\n        return 42;\n    }\n", "theory of the thing"]
TEXTS = ["", " ", "  \n\t  x ", "I'LL can't we'Re ' 'ſ x's", "a\r\n\r\nb \r c", "12345 ٣٤٥٦ ⅷ½", "x<|endoftext|>y <strip>  z\n<strip>",
         " \u00a0\u3000 \u2028x", "e\u0301 \u1100\u1161\u11a8 \u0958 \u1e9b\u0323", "caf\u00e9\u00e9 cafe\u0301e\u0301", "\0\x01a\x7f", "日本。ア・イ カ゛9中",
         "========================================================================================= " * 3, "a" * 300, " " * 100 + "x"]
texts = TEXTS + families.hostile(36, seed=11)

(HERE / "texts.json").write_text(json.dumps(texts, indent=0) + "\n")
for name in families.FAMILIES:
    tokenizer = families.train(name, (WORDS + TEXTS) * 3 + families.hostile(100, seed=5), 700)
    tokenizer.save(str(HERE / f"{name}.json"), pretty=False)
    cases = []
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        # Their decoder takes an added token's characters for bytes.
        odd = tokenizer.token_to_id("caf\u00e9\u00e9") in ids
        cases.append({"ids": ids, "decoded": None if odd else tokenizer.decode(ids)})
    (HERE / f"{name}.ids.json").write_text(json.dumps(cases, separators=(",", ":")).replace("},{", "},\n{") + "\n")
