"""Writes unicode_ranges.inc: what the classes of the splitters are, asked of Hugging Face's tokenizers itself.

    PYTHONPATH=.deps/oracles python3 plugins/tokenizer/hf-bpe/make_unicode_ranges.py

Its regex engine and its `Digits` carry tables of different versions of Unicode, and so does every library that we could
link: ids are equal only where the tables are. The file here was made with tokenizers 0.23.3 (Unicode 16; Digits 17).
"""
import pathlib

from tokenizers import Regex, pre_tokenizers

CLASSES = [("L", r"\p{L}"), ("M", r"\p{M}"), ("N", r"\p{N}"), ("P", r"\p{P}"), ("S", r"\p{S}"), ("W", r"\s"), ("D", None)]
POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def members(pattern):
    found = set()
    for begin in range(0, len(POINTS), 4096):
        block = POINTS[begin:begin + 4096]
        if pattern:
            splitter = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
            found.update(ord(piece) for piece, _ in splitter.pre_tokenize_str("".join(map(chr, block))))
        else:  # a digit stands alone; everything else hangs on a letter
            pieces = pre_tokenizers.Digits(individual_digits=True).pre_tokenize_str("a".join(map(chr, block)))
            found.update(ord(piece) for piece, _ in pieces if len(piece) == 1 and piece != "a")
    return found


masks = [0] * 0x110000
for bit, (_, pattern) in enumerate(CLASSES):
    for point in members(pattern):
        masks[point] |= 1 << bit
entries, last = [], None
for point, mask in enumerate(masks):
    if mask != last:
        entries.append(f"{{{point:#x}, {mask}}},")
        last = mask
lines, line = [], ""
for entry in entries:
    if len(line) + len(entry) + 1 > 120:
        lines.append(line)
        line = ""
    line += (" " if line else "") + entry
lines.append(line)
text = ("// Made by make_unicode_ranges.py: {first code point of a range, its classes}; sorted. Do not edit.\n"
        "// clang-format off\n" + "\n".join(lines) + "\n// clang-format on\n")
(pathlib.Path(__file__).parent / "unicode_ranges.inc").write_text(text)
print(f"{len(entries)} ranges")
