#!/usr/bin/env python3
"""Filters beside datatrove's on the texts of tools/bootstrap --text: MB/s on two cores, and the texts that both keep.

    ninja -C build bench_data_filters plugin_filter_{gopher_quality,gopher_repetition,c4,fineweb,pii}
    PYTHONPATH=.deps/peers python3 tools/bench/data_filters.py [--documents 6000] [--differences 10]

Both sides get the same texts in memory and only judge them: theirs in two processes, of which the slower one's time counts,
ours in two threads, the median of five rounds. Theirs splits a text into words once for all its filters, ours once for each.
First comes Gopher's quality and repetition, which the target speaks of; then C4, FineWeb and PII, whose edited texts are
compared, too. Pages of HTML are cut into parts of some thousand characters, so that there is more prose to differ about.

--check fails where the two keep less than 99.9 % of texts alike, or edit less than 99 % of those alike: tests/golden/filters.
--chinese takes Debian's Chinese manual pages and FineWeb-2's thresholds on both sides instead; theirs then wants jieba.
"""
import argparse
import collections
import gzip
import importlib.util
import html.parser
import multiprocessing
import pathlib
import random
import re
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Ours, theirs, and what theirs is made with.
ENGLISH = {
    "Gopher quality and repetition": [("gopher-quality", "GopherQualityFilter", {}),
                                      ("gopher-repetition", "GopherRepetitionFilter", {})],
    "C4, FineWeb, PII": [("c4", "C4QualityFilter", {}), ("fineweb", "FineWebQualityFilter", {}), ("pii", "PIIFormatter", {})],
}
MANDARIN = {"language": "cmn_Hani"}
CHINESE = {
    "Gopher quality and repetition": [
        ("gopher-quality", "GopherQualityFilter",
         MANDARIN | {"min_avg_word_length": 1, "max_avg_word_length": 5, "max_non_alpha_words_ratio": 0.735,
                     "stop_words": "的 年 在 月 是 和 日 了 於 · 為 有 被 人 中 为 他 與 後 也 而 由".split()}),
        ("gopher-repetition", "GopherRepetitionFilter",
         MANDARIN | {"dup_line_frac": 0.287, "top_n_grams": ((2, 0.256), (3, 0.201), (4, 0.171)),
                     "dup_n_grams": ((5, 0.198), (6, 0.182), (7, 0.167), (8, 0.154), (9, 0.14), (10, 0.127))})],
    "FineWeb": [("fineweb", "FineWebQualityFilter", MANDARIN | {"line_punct_thr": 0.106, "new_line_ratio": 0.178})],
}
BLOCKS = set("p div li h1 h2 h3 h4 h5 h6 tr table ul ol dl dt dd pre br blockquote section".split())


class Page(html.parser.HTMLParser):
    """The text of a page: blocks on lines of their own."""

    def __init__(self, page):
        super().__init__()
        self.parts, self.hidden, self.verbatim = [], 0, 0
        self.feed(page)
        self.text = re.sub(r"\n{3,}", "\n\n", "".join(self.parts)).strip()

    def _tag(self, tag, step):
        if tag in ("script", "style", "head"):
            self.hidden += step
        if tag == "pre":
            self.verbatim += step
        if tag in BLOCKS:
            self.parts.append("\n")

    def handle_starttag(self, tag, attrs):
        self._tag(tag, 1)

    def handle_endtag(self, tag):
        self._tag(tag, -1)

    def handle_data(self, data):
        if self.hidden <= 0:
            self.parts.append(data if self.verbatim > 0 else re.sub(r"\s+", " ", data))


def parts_of(text, size=3000):
    part = []
    for paragraph in text.split("\n\n"):
        part.append(paragraph)
        if sum(map(len, part)) > size:
            yield "\n\n".join(part)
            part = []
    if part:
        yield "\n\n".join(part)


def entries(folder):
    """Articles of a dictd dictionary."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

    def number(text):
        value = 0
        for digit in text:
            value = value * 64 + digits.index(digit)
        return value

    for index in sorted(folder.glob("*.index")):
        data = gzip.open(index.with_suffix(".dict.dz")).read()
        places = {tuple(map(number, line.split("\t")[1:3])) for line in index.read_text(errors="replace").splitlines()}
        for begin, size in sorted(places):
            yield data[begin : begin + size].decode("utf-8", "replace")


def documents(folder, count):
    """As many of each domain as make `count`; 0: all."""
    domains = {domain: [part for path in sorted((folder / domain).rglob("*.html"))
                        for part in parts_of(Page(path.read_text(errors="replace")).text)] for domain in ("web", "papers")}
    domains["code"] = [path.read_text(errors="replace") for path in sorted((folder / "code").rglob("*.go"))
                       if path.is_file()]
    domains["encyclopedia"] = list(entries(folder / "encyclopedia"))
    drawn = []
    for texts in domains.values():
        texts = [text for text in texts if text.strip()]
        drawn += random.Random(1).sample(texts, min(count // len(domains), len(texts))) if count else texts
    return drawn


def manual(page):
    """The text of a manual page, without what roff makes of it."""
    lines = []
    for line in page.splitlines():
        if line.startswith((".", "'")):
            heading = re.match(r"\.(?:SH|SS|B|I|BR|TP|IP)\s+(.*)", line)
            line = heading.group(1) if heading else ""
        lines.append(re.sub(r"\\f[BIRP]|\\\(..|\\[,/&|^]", "", line).replace("\\", ""))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def chinese_documents(folder, count):
    texts = [part for path in sorted((folder / "chinese").rglob("*.gz"))
             for part in parts_of(manual(gzip.open(path).read().decode("utf-8", "replace")), 1200) if part.strip()]
    return random.Random(1).sample(texts, min(count, len(texts))) if count else texts


def judge(work):
    """[worker] Seconds, and of each text whether each filter keeps it and what it makes of it."""
    pairs, texts = work
    from datatrove.data import Document
    from datatrove.pipeline import filters, formatters

    made = [(getattr(filters, name, None) or getattr(formatters, name))(**options) for _, name, options in pairs]
    results = []
    judge_one(made, Document(text="Loads what is loaded late. " * 20, id="0"))
    start = time.perf_counter()
    for text in texts:
        results.append([judge_one([each], Document(text=text, id="0"))[0] for each in made])
    return time.perf_counter() - start, results


def judge_one(made, document):
    results = []
    for each in made:
        if hasattr(each, "_replace_i") or hasattr(each, "format"):
            for replacer in (each.emails_replacer, each.ip_replacer):
                replacer._replace_i = 0  # ours begins with the first one in each text
            results.append((True, each.format(document.text)))
            continue
        try:
            verdict = each.filter(document)
        except (ZeroDivisionError, AssertionError):
            verdict = False  # what their pipeline does with a text that a filter cannot judge is to stop
        results.append((verdict is True, document.text))
    return results


def theirs(pairs, texts):
    halves = [texts[0::2], texts[1::2]]
    with multiprocessing.Pool(2) as pool:
        done = pool.map(judge, [(pairs, half) for half in halves], chunksize=1)
    results = [None] * len(texts)
    results[0::2], results[1::2] = done[0][1], done[1][1]
    return max(seconds for seconds, _ in done), results


def write_records(path, texts):
    with open(path, "wb") as file:
        for text in texts:
            encoded = text.encode("utf-8", "replace")
            file.write(struct.pack("<I", len(encoded)) + encoded)


def read_records(path):
    data, at = path.read_bytes(), 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        yield data[at + 4 : at + 4 + size].decode("utf-8", "replace")
        at += 4 + size


class Ours:
    def __init__(self, build, folder, texts, language):
        self.build, self.folder, self.language = build, folder, language
        write_records(folder / "texts", texts)

    def _run(self, pairs, verdicts, threads):
        plugins = [self.build / f"plugins/filter-{name}.so" for name, _, _ in pairs]
        command = [self.build / "bin/bench_data_filters", self.folder / "texts", self.language, verdicts, str(threads), *plugins]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def rate(self, pairs):
        return float(self._run(pairs, "-", 2).split()[-1])

    def verdicts(self, pairs):
        path = self.folder / "verdicts"
        self._run(pairs, path, 1)
        kept = [line.split("\t") for line in path.read_text().split("\n")[:-1]]
        edits = {i: list(read_records(edited)) for i in range(len(pairs))
                 if (edited := self.folder / f"verdicts.{i + 1}").exists()}
        return kept, edits


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--text", type=pathlib.Path, default=ROOT / ".deps/text")
    parser.add_argument("--documents", type=int, default=6000, help="equally many of each domain; 0 takes all there are")
    parser.add_argument("--chinese", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--differences", type=int, default=0, help="how many of each filter to show")
    arguments = parser.parse_args()
    if arguments.check and not (importlib.util.find_spec("datatrove") and (arguments.text / "web").is_dir()):
        print("skipped: datatrove or the texts are missing (tools/bootstrap --peers --text)")
        return 77
    alike = True
    texts = (chinese_documents if arguments.chinese else documents)(arguments.text, arguments.documents)
    megabytes = sum(len(text.encode("utf-8", "replace")) for text in texts) / 1e6
    print(f"{len(texts)} documents, {megabytes:.1f} MB; two cores")
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(arguments.build, pathlib.Path(folder), texts, "zh" if arguments.chinese else "")
        print(f"{'':36}{'ours MB/s':>12}{'datatrove MB/s':>16}{'times':>8}")
        for title, pairs in (CHINESE if arguments.chinese else ENGLISH).items():
            seconds, results = theirs(pairs, texts)
            rate = ours.rate(pairs)
            print(f"{title:36}{rate:12.1f}{megabytes / seconds:16.2f}{rate * seconds / megabytes:8.0f}")
            verdicts, edits = ours.verdicts(pairs)
            for i, (name, _, _) in enumerate(pairs):
                alike &= compare(name, i, texts, verdicts, edits.get(i), results, arguments.differences)
    return 0 if alike or not arguments.check else 1


def compare(name, i, texts, verdicts, edits, results, show):
    """Prints what is kept alike; True when that is enough."""
    enough = True
    kept = [result[i][0] for result in results]
    different = [t for t in range(len(texts)) if (verdicts[t][i] == "") != kept[t]]
    share = 100 * (1 - len(different) / len(texts))
    enough &= share >= 99.9
    line = f"  {name}: datatrove keeps {sum(kept)}, the same of {share:.3f} %"
    reasons = collections.Counter(verdicts[t][i] or "kept" for t in different)
    if reasons:
        line += f" (the others here: {dict(reasons)})"
    if edits is not None:
        both = [t for t in range(len(texts)) if kept[t] and verdicts[t][i] == ""]
        unequal = [t for t in both if edits[t] != results[t][i][1]]
        enough &= len(unequal) <= len(both) / 100
        line += f"; of {len(both)} kept by both the edited text is the same in {len(both) - len(unequal)}"
        for t in unequal[:show]:
            line += f"\n    ours   {edits[t][:300]!r}\n    theirs {results[t][i][1][:300]!r}"
    print(line)
    for t in different[:show]:
        print(f"    {verdicts[t][i] or 'kept'}: {texts[t][:150]!r}")
    return enough


if __name__ == "__main__":
    sys.exit(main())
