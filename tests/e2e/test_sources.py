"""Every kind of source in one run of the host: what lies in the cache after it, beside LibTorch in one process."""

import json
import pathlib
import struct
import subprocess
import unittest

from harness import CONCLAVE, TINY, ConclaveTest

PLUGINS = pathlib.Path(__file__).resolve().parents[2] / "plugins/source"
DOMAINS = {
    "web": '{use: source/warc, with: {paths: "%s"}}' % (PLUGINS / "warc/testdata/crawl.warc.gz"),
    "code": '{use: source/code, with: {paths: "${text}/code"}}',
    "lines": '{use: source/jsonl, with: {paths: "${text}/lines/*.jsonl", url: url, language: lang}}',
    "ids": '{use: source/megatron, with: {paths: "${text}/ids/*.idx", tokenizer: {use: tokenizer/bytes}}}',
    "rows": '{use: source/parquet, with: {paths: "%s", language: language}}' % (PLUGINS / "parquet/testdata/plain.parquet"),
}


def write_megatron(prefix, texts):
    tokens = [list(text.encode()) + [256] for text in texts]
    lengths = [len(ids) for ids in tokens]
    offsets = [2 * sum(lengths[:i]) for i in range(len(lengths))]
    prefix.with_suffix(".bin").write_bytes(b"".join(struct.pack(f"<{len(ids)}H", *ids) for ids in tokens))
    prefix.with_suffix(".idx").write_bytes(
        b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, len(texts), len(texts) + 1) + struct.pack(f"<{len(texts)}i", *lengths)
        + struct.pack(f"<{len(texts)}q", *offsets) + struct.pack(f"<{len(texts) + 1}q", *range(len(texts) + 1)))


class SourcesTest(ConclaveTest):
    def environment(self):
        return {**super().environment(), "XDG_CACHE_HOME": str(self.dir / "cache")}

    def test_documents_and_languages_of_each(self):
        listed = subprocess.run([CONCLAVE, "plugins", "--json"], stdout=subprocess.PIPE, check=True, env=self.environment())
        built = {plugin["id"] for plugin in json.loads(listed.stdout)}
        domains = {name: source for name, source in DOMAINS.items() if source.split(",")[0].removeprefix("{use: ") in built}
        self.assertGreaterEqual(set(domains), set(DOMAINS) - {"rows"}) # which needs Arrow
        text = self.dir / "text"
        for folder in ("code/a", "lines", "ids"):
            (text / folder).mkdir(parents=True)
        codes = [f"package p{i}\n" * 20 for i in range(20)]
        for i, code in enumerate(codes):
            (text / f"code/a/{i:02}.go").write_text(code)
        lines = [f"line {i} " * 20 for i in range(20)]
        (text / "lines/a.jsonl").write_text("".join(json.dumps({"text": line, "url": f"http://x/{i}", "lang": "eo"}) + "\n"
                                                    for i, line in enumerate(lines)))
        tokens = [f"tokens é {i} " * 20 for i in range(20)]
        write_megatron(text / "ids/a", tokens)
        experiment = self.dir / "sources.yaml"
        experiment.write_text(f"conclave: 1\nextends: {TINY}\nname: sources\ndata:\n  domains:\n    prose: null\n    lists: null\n"
                              + "".join(f"    {name}: {{share: 1, source: {source}}}\n" for name, source in domains.items()))
        self.run_conclave("--set", "train.steps=2", experiment=experiment, text=text)

        found = {}
        for folder in (self.dir / "cache/conclave/data").glob("read-*"):
            facts = json.loads((folder / "manifest.json").read_text())["facts"]
            found[facts["domain"]] = ("".join(part.read_text() for part in sorted(folder.glob("texts-*"))),
                                      sorted({line for part in folder.glob("languages-*") for line in part.read_text().split("\n")}))
        self.assertEqual(set(found), set(domains))
        self.assertEqual(found["code"], ("".join(codes), ["", "code:go"]))
        self.assertEqual(found["lines"], ("".join(lines), ["", "eo"]))
        self.assertEqual(found["ids"], ("".join(tokens), [""]))
        self.assertEqual(found["web"][1], ["", "en", "zh"])
        self.assertIn("Extracted text.\n提取的文本。\n", found["web"][0])
        if "rows" in found:
            self.assertEqual(found["rows"][1], ["", "de", "en", "zh"])
            self.assertTrue(found["rows"][0].startswith("text 0 é中 text 1 é中 x"), found["rows"][0][:40])


if __name__ == "__main__":
    unittest.main()
