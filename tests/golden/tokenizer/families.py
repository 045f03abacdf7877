"""The tokenizers that check_ids.py compares on: vocabularies trained by Hugging Face's tokenizers under the pre-tokenisers of
known families, and text to compare with: the corpora of tools/bootstrap --text and text made to be hostile.

What the families' tokenizer.json files say of normaliser and pre-tokeniser is public; their vocabularies are not at hand
without a network, so each is trained here. Everything is a pure function of its arguments.
"""
import gzip
import pathlib
import random
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = CL100K.replace(r"\p{N}{1,3}", r"\p{N}")
DEEPSEEK = [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
            r"|\s*[\r\n]+|\s+(?!\S)|\s+".replace('\\"', '"')]


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def bytes_only():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


# name: (normaliser, pre-tokeniser, ignore_merges, special tokens)
FAMILIES = {
    "gpt2": lambda: (None, pre_tokenizers.ByteLevel(add_prefix_space=False), False, ["<|endoftext|>"]),
    "llama3": lambda: (None, pre_tokenizers.Sequence([split(CL100K), bytes_only()]), True,
                       ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>"]),
    "qwen2": lambda: (normalizers.NFC(), pre_tokenizers.Sequence([split(QWEN2), bytes_only()]), False,
                      ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
    "deepseek3": lambda: (normalizers.Sequence([]),
                          pre_tokenizers.Sequence([*map(split, DEEPSEEK), bytes_only()]), False,
                          ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"]),
    "starcoder": lambda: (None, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                         pre_tokenizers.ByteLevel(add_prefix_space=False)]), False,
                          ["<|endoftext|>", "<fim_prefix>"]),
}


def train(family, texts, vocabulary):
    normaliser, pre_tokeniser, ignore_merges, special = FAMILIES[family]()
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normaliser is not None:
        tokenizer.normalizer = normaliser
    tokenizer.pre_tokenizer = pre_tokeniser
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, show_progress=False, special_tokens=special,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    # Tokens beside the special ones: of code, as Llama-3 and DeepSeek have, and one that is normalised first.
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("caf\u00e9\u00e9", normalized=True),
                          AddedToken("<strip>", lstrip=True, rstrip=True, normalized=False)])
    return tokenizer


def cut(text, size=1 << 15):
    return [text[i:i + size] for i in range(0, len(text), size)]


def corpus(root, name, megabytes):
    """Documents of .deps/text/<name>, about so many MB, spread over its files."""
    root = pathlib.Path(root) / name
    if name == "encyclopedia":
        with gzip.open(root / "gcide.dict.dz", "rb") as file:
            return cut(file.read(megabytes * 1_000_000).decode("utf-8", "replace"))
    suffixes = {"code": (".go", ".s", ".md"), "web": (".html",), "papers": (".html", ".txt")}[name]
    files = sorted(p for p in root.rglob("*") if p.suffix in suffixes and p.is_file())
    random.Random(name).shuffle(files)
    texts, left = [], megabytes * 1_000_000
    for path in files:
        data = path.read_bytes()[:left]
        texts += cut(data.decode("utf-8", "replace"))
        left -= len(data)
        if left <= 0:
            break
    return texts


SNIPPETS = ["'s", "'S", "'ll", "'LL", "'Re", "'vE", "'\u017f", "'d", "'M", "'t", "''", "can't", "I'M", " ", "  ", "\n", "\r\n", "\t",
            "\u00a0", "\u3000", "\u2028", "\u0085", "\u200d", "\u200b", "\ufeff", "\u0301", "e\u0301", "\u1100\u1161\u11a8",
            "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "0", "12", "123456789", "\u0663\u0664", "\u0967\u0968",
            "\u2167", "\u00bd", "\u4e2d\u6587", "\u9fa6", "\u30fb", "\u309b", "\u30ab\u3099", "\u3042\u308a", "\ud55c\uad6d", "ABC", "abc",
            "camelCase", "x_y", "!", "!!", "()", "{};", "//", "<|", "|>", "<|endoftext|>", "<|im_start|>", "<tool_call>", "<strip>",
            "caf\u00e9\u00e9", "cafe\u0301e\u0301", "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "\0", "\x01", "\x1f", "\x7f", "\u00ad",
            "\ue000", "\U0010ffff", "\ufdd0", "$", "+", "^", "`", "~", "\u20ac", "\u00ac", "-", "\u2014", "\u00df", "\u0130", "\ufb01",
            "\u1e9b\u0323", "\u0958", "\u0f73", "\U0001d15e", "\u0344", "\u2126", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]


def hostile(documents, seed=1):
    """Strings of all categories and scripts: hostile to a splitter, but valid Unicode."""
    draw = random.Random(seed)
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    by_category = {}
    for c in points:
        by_category.setdefault(unicodedata.category(chr(c)), []).append(chr(c))
    categories = sorted(by_category)
    texts = []
    for _ in range(documents):
        mode, parts = draw.randrange(6), []
        for _ in range(draw.randrange(1, 120)):
            if mode == 0:
                parts.append(draw.choice(SNIPPETS))
            elif mode == 1:
                parts.append(draw.choice(by_category[draw.choice(categories)]))
            elif mode == 2:
                parts.append(draw.choice([" ", "\n", "\r", "\t", "\u00a0", "\u2003", "x", "1", "."]) * draw.choice([1, 1, 2, 3, 9, 70]))
            elif mode == 3:  # a run of one block: words of one script
                start = draw.choice([0x41, 0xC0, 0x300, 0x370, 0x400, 0x5D0, 0x620, 0x900, 0xE00, 0x1100, 0x1E00, 0x3040, 0x4E00,
                                     0xAC00, 0x1F300, 0x20000])
                parts.append("".join(chr(start + draw.randrange(90)) for _ in range(draw.randrange(1, 12))))
            elif mode == 4:  # marks upon marks: work for NFC
                parts.append(draw.choice("aeiouAEIOU\u0928\u3131\uac00\u1100 ") +
                             "".join(draw.choice(by_category["Mn"]) for _ in range(draw.choice([0, 0, 1, 1, 2, 3, 100]))))
            else:
                parts.append(draw.choice(SNIPPETS + ["the", " of", "func", " return", "\n    ", "日本", "привет"]))
        texts.append("".join(parts))
    return texts
