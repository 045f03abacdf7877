"""conclave prepare and conclave data: tasks that share the work out, the status, the report's page, and what is in the data."""

import json
import pathlib
import re
import struct
import subprocess
import unittest

from browser import Browser, find_chromium
from harness import CONCLAVE, TINY, ConclaveTest, prepared, write_corpus

FILTERED = """
conclave: 1
extends: %s
name: filtered
data:
  domains:
    prose: {share: 3, source: {use: source/text, with: {paths: "${text}/prose/*.txt"}}}
    lists: {share: 1, source: {use: source/text, with: {paths: "${text}/lists/*.txt"}}}
  filters:
    - {use: filter/length, with: {min_bytes: 500}}
    - {use: filter/exact-dedup}
  length: {min: 1, max: 300, too_long: split}
""" % TINY


class PrepareTest(ConclaveTest):
    def setUp(self):
        super().setUp()
        write_corpus(self.dir / "text", files=60)
        # A copy, and what would be markup in a page.
        (self.dir / "text/prose/900.txt").write_text((self.dir / "text/prose/000.txt").read_text())
        (self.dir / "text/prose/901.txt").write_text("<script>document.title = 'taken over'</script> & short")
        (self.dir / "filtered.yaml").write_text(FILTERED)

    def environment(self):
        return {**super().environment(), "XDG_CACHE_HOME": str(self.dir / "cache")}

    def start_verb(self, *arguments, cache="cache"):
        return subprocess.Popen([CONCLAVE, *map(str, arguments), "--set", f"vars.text={self.dir / 'text'}"], cwd=self.dir, text=True,
                                env={**self.environment(), "XDG_CACHE_HOME": str(self.dir / cache)},
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def verb(self, *arguments, code=0, error=False, **keywords):
        process = self.start_verb(*arguments, **keywords)
        out, said = process.communicate(timeout=300)
        self.assertEqual(process.returncode, code, out + said)
        return said if error else out


class Prepare(PrepareTest):
    def test_tasks_share_it_out(self):
        self.verb("prepare", "filtered.yaml", cache="alone")
        tasks = [self.start_verb("prepare", "filtered.yaml", "--task", f"{i}/3") for i in range(3)]
        for task in tasks:
            _, said = task.communicate(timeout=300)
            self.assertEqual(task.returncode, 0, said)
        self.assertEqual(prepared(self.dir / "cache"), prepared(self.dir / "alone"))
        said = self.verb("prepare", "filtered.yaml", "--task", "3/3", code=2, error=True)
        self.assertIn("--task: there is no task 3 of 3: tasks are counted from 0", said)
        said = self.verb("prepare", "filtered.yaml", "--task", "auto", code=3, error=True)
        self.assertIn("nothing in the environment says which task this is", said)

    def test_a_process_alone_waits_for_another_one(self):
        first = self.start_verb("prepare", "filtered.yaml")
        second = self.start_verb("prepare", "filtered.yaml")
        for process in (first, second):
            _, said = process.communicate(timeout=300)
            self.assertEqual(process.returncode, 0, said)
        self.assertEqual(len([name for name in prepared(self.dir / "cache") if name.startswith("corpus-")]), 1)

    def test_the_status(self):
        said = self.verb("prepare", "filtered.yaml", "--status")
        self.assertEqual(re.findall(r"^(\w+) +(.*?) *(made|begun|missing)$", said, re.M),
                         [("read", "prose", "missing"), ("read", "lists", "missing"), ("corpus", "", "missing")])
        self.assertFalse((self.dir / "cache/conclave/data").exists(), "to look makes nothing")
        self.verb("prepare", "filtered.yaml")
        said = self.verb("prepare", "filtered.yaml", "--status")
        self.assertNotIn("missing", said)
        self.assertIn("The corpus is there", said)
        # A threshold makes select and what follows anew.
        (self.dir / "stricter.yaml").write_text(FILTERED.replace("min_bytes: 500", "min_bytes: 600"))
        said = self.verb("prepare", "stricter.yaml", "--status")
        self.assertRegex(said, r"(?m)^annotate +length of prose +made$")
        self.assertRegex(said, r"(?m)^select +missing$")
        self.assertNotIn("tokens", said)


class Data(PrepareTest):
    def text_of(self, sample, origin):
        return (self.dir / "text" / sample["domain"] / pathlib.Path(origin["id"]).name).read_text()

    def test_what_is_there(self):
        said = self.verb("data", "show", "filtered.yaml", code=2, error=True)
        self.assertIn("this experiment's data is not prepared: run `conclave prepare`", said)
        self.verb("prepare", "filtered.yaml")
        shown = json.loads(self.verb("data", "show", "filtered.yaml", "--json"))
        self.assertEqual([domain["name"] for domain in shown["domains"]], ["prose", "lists"])
        self.assertEqual(shown["domains"][0]["share"], 0.75)
        stages = prepared(self.dir / "cache")
        self.assertEqual({pathlib.Path(folder["folder"]).name for folder in shown["folders"]}, set(stages))
        (corpus,) = [name for name in stages if name.startswith("corpus-")]
        self.assertEqual(shown["digest"], stages[corpus][0]["corpus_digest"])
        said = self.verb("data", "show", "filtered.yaml")
        for part in (shown["corpus"], shown["digest"], "prose", "75.00 %"):
            self.assertIn(part, said)

    def test_samples_know_where_they_came_from(self):
        self.verb("prepare", "filtered.yaml")
        samples = json.loads(self.verb("data", "sample", "filtered.yaml", "--json", "--count", 40))
        self.assertEqual({sample["domain"] for sample in samples}, {"prose", "lists"})
        pieces = 0
        for sample in samples:
            (origin,) = sample["from"]
            text = self.text_of(sample, origin)
            # Tokens are bytes here, so pieces of 300 tokens are pieces of 300 bytes.
            piece, of = origin.get("piece", [0, 1])
            pieces += of > 1
            self.assertEqual(sample["text"], text[300 * piece:300 * piece + 300])
            self.assertEqual(origin["columns"]["length"]["bytes"], len(text))
        self.assertGreater(pieces, 20)
        said = self.verb("data", "sample", "filtered.yaml", "--domain", "lists", "--count", 1)
        self.assertRegex(said, r"^lists train, document \d+, \d+ tokens\n  from .*\.txt, piece \d+ of \d+\n    length: bytes \d+")
        said = self.verb("data", "sample", "filtered.yaml", "--domain", "none", code=2, error=True)
        self.assertIn("the experiment has no domain 'none'", said)

    def test_the_sequences_of_a_batch(self):
        self.verb("prepare", "filtered.yaml")
        for mode in ("pack", "bucket"):
            samples = json.loads(self.verb("data", "sample", "filtered.yaml", "--json", "--batch", 5, "--count", 100,
                                           "--set", f"data.batching.mode={mode}"))
            self.assertEqual(len(samples), 8)
            self.assertEqual([sample["domain"] for sample in samples].count("prose"), 6)
            for sample in samples:
                texts = ""
                for origin in sample["from"]:
                    piece, _ = origin.get("piece", [0, 1])
                    texts += self.text_of(sample, origin)[300 * piece:300 * piece + 300]
                self.assertIn(sample["text"], texts)  # the end token between documents is no text

    def test_shares_of_a_range_of_batches(self):
        self.verb("prepare", "filtered.yaml")
        counted = json.loads(self.verb("data", "stats", "filtered.yaml", "--json", "--batches", "3:103"))
        self.assertEqual([(domain["name"], domain["sequences"], domain["exact"], domain["worst_batch"])
                          for domain in counted["batches"]["domains"]], [("prose", 600, 600.0, 0.0), ("lists", 200, 200.0, 0.0)])
        for domain in counted["domains"]:
            self.assertEqual(sum(domain["lengths"]), domain["documents"])
            self.assertLess(domain["longest"], 302)
        said = self.verb("data", "stats", "filtered.yaml", "--batches", "3:103")
        self.assertIn("batches 3 to 102: 800 sequences", said)
        said = self.verb("data", "stats", "filtered.yaml", "--batches", "3", code=2, error=True)
        self.assertIn("'3' is no range of batches: write first:end", said)

    def test_megatron_gets_the_same_ids(self):
        self.verb("prepare", "filtered.yaml")
        self.verb("data", "export", "filtered.yaml", "--megatron", "exported")
        self.assertEqual(sorted(path.name for path in (self.dir / "exported").iterdir()),
                         sorted(f"{domain}-{split}.{kind}" for domain in ("prose", "lists") for split in ("train", "held_out") for kind in ("bin", "idx")))
        (corpus,) = (self.dir / "cache/conclave/data").glob("corpus-*")
        for number, domain in enumerate(("prose", "lists")):
            for split in ("train", "held_out"):
                ids = (corpus / f"{split}-{number:05}.tokens").read_bytes()
                bounds = (corpus / f"{split}-{number:05}.bounds").read_bytes()
                self.assertEqual((self.dir / f"exported/{domain}-{split}.bin").read_bytes(), ids)
                # MMIDIDX, version 1, type 8 (uint16), sequences, documents; then a length for each sequence.
                index = (self.dir / f"exported/{domain}-{split}.idx").read_bytes()
                starts = struct.unpack(f"<{len(bounds) // 8}Q", bounds)
                self.assertEqual(struct.unpack("<9sQBQQ", index[:34]), (b"MMIDIDX\0\0", 1, 8, len(starts) - 1, len(starts)))
                lengths = struct.unpack(f"<{len(starts) - 1}I", index[34:34 + 4 * (len(starts) - 1)])
                self.assertEqual(lengths, tuple(end - start for start, end in zip(starts, starts[1:])))
        said = self.verb("data", "export", "filtered.yaml", "--megatron", "exported", code=5, error=True)
        self.assertIn("File exists", said)

    def test_damage_is_found_and_named(self):
        self.verb("prepare", "filtered.yaml")
        self.assertNotIn("DAMAGED", self.verb("data", "verify", "filtered.yaml"))
        (corpus,) = (self.dir / "cache/conclave/data").glob("corpus-*")
        tokens = bytearray((corpus / "train-00000.tokens").read_bytes())
        tokens[7] ^= 1
        (corpus / "train-00000.tokens").write_bytes(tokens)
        said = self.verb("data", "verify", "filtered.yaml", code=5)
        self.assertIn(f"DAMAGED {corpus}", said)
        self.assertIn("train-00000.tokens: the file's content does not match its digest", said)
        verified = json.loads(self.verb("data", "verify", "filtered.yaml", "--json", code=5))
        damaged = {pathlib.Path(folder["folder"]).name.split("-")[0] for folder in verified if folder["error"]}
        self.assertEqual(damaged, {"corpus", "gated"}, "the corpus links the gate's files")


@unittest.skipUnless(find_chromium(), "no Chromium on this machine: THE PAGE OF prepare IS NOT TESTED (apt-get install chromium)")
class Page(PrepareTest):
    def test_it_shows_the_funnel_lengths_and_samples(self):
        process = self.start_verb("prepare", "filtered.yaml", "--report", "report.html")
        _, said = process.communicate(timeout=300)
        if "no plotting library" in said:
            self.skipTest("THE PAGE OF prepare IS NOT TESTED: " + said)
        self.assertEqual(process.returncode, 0, said)
        page = (self.dir / "report.html").read_text()
        self.assertIsNone(re.search(r"""(src|href)=["']?https?:""", page), "the page needs no other file")
        browser = Browser()
        self.addCleanup(browser.close)
        browser.open(self.dir / "report.html")
        self.assertEqual(browser.run("document.title"), "Prepared data")
        self.assertEqual(browser.run("document.getElementById('title').textContent"), "Prepared data of filtered")
        rows = browser.run("[...document.querySelectorAll('#funnel tr')].map(row => [...row.cells].map(cell => cell.textContent))")
        self.assertEqual([row[:2] for row in rows[1:]],
                         [["source", "62"], ["length", rows[2][1]], ["exact-dedup", rows[3][1]], ["length-gate", rows[3][1]]])
        self.assertEqual(int(rows[2][1]) - int(rows[3][1]), 1)
        self.assertIn("too-short", rows[2][6])
        # Every length of every domain is drawn, and its table adds up.
        for domain in ("prose", "lists"):
            for kind in ("read", "kept", "tokens"):
                drawn = browser.run(f"""(() => {{
                  for (const [id, value] of [["domain", "{domain}"], ["length", "{kind}"]]) {{
                    document.getElementById(id).value = value;
                    document.getElementById(id).dispatchEvent(new Event("change"));
                  }}
                  return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {{
                    const canvas = document.querySelector("#chart canvas");
                    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
                    let blue = 0;
                    for (let i = 0; i < pixels.length; i += 4) blue += pixels[i + 3] > 0 && pixels[i + 2] > pixels[i] + 40;
                    const counts = [...document.querySelectorAll("#counts tr")].slice(1).map(row => +row.cells[2].textContent.replace(/,/g, ""));
                    done([blue, counts.reduce((a, b) => a + b, 0), document.getElementById("note").textContent]);
                  }})));
                }})()""")
                self.assertGreater(drawn[0], 500, (domain, kind))
                self.assertTrue(drawn[2].startswith(f"{drawn[1]:,} documents;"), drawn)
        # What was dropped, as text and not as markup.
        browser.run("document.getElementById('domain').value = 'prose'; document.getElementById('domain').dispatchEvent(new Event('change'))")
        texts = browser.run("[...document.querySelectorAll('#samples details')].map(rule => [rule.querySelector('summary').textContent, rule.textContent])")
        rules = {summary.partition(" (")[0]: text for summary, text in texts}
        self.assertIn("<script>document.title = 'taken over'</script> & short", rules["length: too-short"])
        self.assertIn("900.txt", rules["exact-dedup: " + next(rule for rule in rules if rule.startswith("exact-dedup")).partition(": ")[2]])
        self.assertEqual(browser.problems, [])


if __name__ == "__main__":
    unittest.main()
