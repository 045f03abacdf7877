#!/usr/bin/env python3
"""Writes english.txt: texts, a line each, and under each its words as spaCy's English tokenizer cuts it, with spaces between.

    PYTHONPATH=.deps/peers python3 tests/golden/words/make_reference.py

Needs spaCy (tools/bootstrap --peers).
"""
import pathlib

from spacy.lang.en import English

TEXTS = r"""
The cat sat on the mat, and the dog didn't.
Don't they've we'll she'd've it's its Its were well hell cannot gonna let's y'all ma'am
don’t we’re it’s ‘quoted’ “double” — dashes–here…
I'm Im id wed youre theyll shouldnt wouldn't've who's whos that'll 'cause o'clock
A well-known state-of-the-art 5-year-old e-mail foo--bar foo -- bar x–y 1990–2000 --option=value
Mr. Smith of St. Louis, Mo., Inc. e.g. this, i.e. that. U.S. NASA. A.B. end.Next etc.
3.5% of $5 US$6 7€ 10km 5GB 3D 2m/s 50% 1,000.5 2^3 5-3 5+3 -5 +5 a+b 10:30 9am 12p.m. 8)
(see http://www.gnu.org/software/a-b/c.html) https://user@host.example:8080/x?y=z#frag, a@b.com. os.path.join foo.bar/baz-qux
192.168.1.1/path 8.8.8.8/path-x example.com/a:b C++ C# x86-64 v1.2-rc1 std::vector<int> a->b a=b x==y foo:bar a/b and/or w/o
<b>bold</b> [1] {x} *emph* `code` ``quoted'' #tag @name _under_ snake_case __init__ $HOME ~/dir /usr/bin/ls C:\dir
t.Run(path) b.N f(x): y): ]: (: :) ;-) =( x:) xD >:( <3 T. p. (v.) v.t. "v. t."
wait... what?! no!!! .hidden ..dots ...more end.. a.b.c. 'tis rock'n'roll dogs' '90s 'S 's
° 25°C. 5°F. © 2020 ™ → ★ naïve café Größe über-cool ÄÖÜ. русский язык, ещё-раз. ελληνικά. español ¿qué? ¡sí!
50m² 5µm 3kg. 7lb, (10cm) x10cm 10cmx R2D2 1st 2nd 10x
""".strip("\n").split("\n")

if __name__ == "__main__":
    cut = English()
    lines = []
    for text in TEXTS:
        lines += [text, " ".join(word for word in (token.text.strip() for token in cut(text)) if word)]
    (pathlib.Path(__file__).parent / "english.txt").write_text("\n".join(lines) + "\n")
