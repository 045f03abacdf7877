"""An exported run: the same files from any layout; loaded by Hugging Face transformers, the same numbers as ours and the same
token ids as SentencePiece.

What loads it needs the packages of `tools/bootstrap --oracles`; says so and is skipped without them.
"""

import json
import os
import pathlib
import subprocess
import sys
import unittest

from harness import CONCLAVE, ConclaveTest, metrics

ORACLES = pathlib.Path(os.environ.get("CONCLAVE_ORACLES", ""))
PLAIN = "{experts: 4, hierarchy: null}"
TIED = "{experts: 4, hierarchy: null, tie_embeddings: true}"
DOCUMENT = "a river stone walks"
# Experts, heads and the vocabulary split; and a pipeline, whose ends both hold the embedding where it is tied.
FOLDED = ("--ranks", "4", "--set", "parallel={tensor: 2, expert: 2}", "--set", "train.micro_batch=2")
PIPELINE = ("--ranks", "2", "--set", "parallel.pipeline=2", "--set", "train.micro_batch=2")

# Mean negative log likelihood of one document, as transformers computes it from the exported folder.
SCORE = """
import json, sys, torch
from transformers import AutoModelForCausalLM
model, info = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32, output_loading_info=True)
ids = torch.tensor([json.loads(sys.argv[2])])
with torch.no_grad():
    logits = model(ids[:, :-1]).logits[0]
nll = torch.nn.functional.cross_entropy(logits.double(), ids[0, 1:])
print(json.dumps({"nll": nll.item(), "missing": sorted(info["missing_keys"]), "unexpected": sorted(info["unexpected_keys"]),
                  "form": model.config.model_type}))
"""

# The type in which transformers loads the weights when it is told to follow the config.
DTYPE = """
import json, sys
from transformers import AutoModelForCausalLM
print(json.dumps(str(AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype="auto").dtype)))
"""

TOKENISE = """
import json, sys, sentencepiece
from transformers import AutoTokenizer
text = sys.argv[2]
processor = sentencepiece.SentencePieceProcessor(model_file=sys.argv[1] + "/tokenizer.model")
print(json.dumps([AutoTokenizer.from_pretrained(sys.argv[1])(text, add_special_tokens=False)["input_ids"],
                  processor.encode(text)]))
"""

# The file alone, and as transformers takes the whole folder.
BYTE_LEVEL = """
import json, sys, tokenizers
from transformers import AutoTokenizer
folder, text = sys.argv[1:]
loaded = AutoTokenizer.from_pretrained(folder)
print(json.dumps([loaded(text, add_special_tokens=False)["input_ids"],
                  tokenizers.Tokenizer.from_file(folder + "/tokenizer.json").encode(text, add_special_tokens=False).ids,
                  loaded.eos_token_id]))
"""


class ExportTest(ConclaveTest):
    def export(self, run, folder, *arguments):
        done = subprocess.run([CONCLAVE, "export", str(run), "--to", "hf", str(folder), *arguments], text=True,
                              env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout)


class Layouts(ExportTest):
    def check_files(self, model, layout, ranks):
        settings = ("--set", f"model.with={model}")
        self.run_conclave("--run-dir", "run", "--stop-after", 6, *settings, *layout)
        self.assertEqual(self.writers("step-00000006"), ranks)
        self.export(self.dir / "run", self.dir / "ranks", "--dtype", "fp32")
        # One rank goes on with a step that is not applied, and saves the same weights by itself.
        said = self.run_conclave("--run-dir", "run", "--resume", "--allow-change", *settings, "--set",
                                 "train={clip_grad_norm: 1e-30, grad_norm_limit: 1e-30, max_skipped: 1}", code=4)
        self.assertIn("nothing was applied", said)
        self.assertEqual(self.writers("step-00000007"), 1)
        self.export(self.dir / "run", self.dir / "one", "--dtype", "fp32")
        by_ranks, by_one = ({file.name: file.read_bytes() for file in (self.dir / folder).iterdir()} for folder in ("ranks", "one"))
        self.assertEqual(sorted(by_ranks), sorted(by_one))
        self.assertIn("model.safetensors", by_ranks)
        for name, content in by_ranks.items():
            self.assertTrue(content == by_one[name], f"{name} differs")

    def writers(self, checkpoint):
        """How many ranks wrote that checkpoint's tensors."""
        manifest = json.loads((self.dir / "run/checkpoints" / checkpoint / "manifest.json").read_text())
        return len({name.rpartition("-")[0] for name in manifest["files"] if name.startswith("tensors-")})

    def test_folded_ranks_export_the_files_of_one(self):
        self.check_files(PLAIN, FOLDED, 4)

    def test_a_pipeline_with_tied_embeddings_exports_the_files_of_one_rank(self):
        self.check_files(TIED, PIPELINE, 2)


@unittest.skipUnless((ORACLES / "transformers").is_dir(), f"no transformers in {ORACLES}: run tools/bootstrap --oracles")
class Export(ExportTest):
    def ask(self, program, *arguments):
        done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], text=True, capture_output=True, timeout=300,
                              env={**os.environ, "PYTHONPATH": str(ORACLES), "HF_HUB_OFFLINE": "1"})
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    def check_numbers(self, model, form, *layout):
        # Every document is the same, so the nll of a step is the nll of that document under the weights before it.
        text = self.dir / "text"
        for domain in ("prose", "lists"):
            (text / domain).mkdir(parents=True)
            for i in range(40):
                (text / domain / f"{i}.txt").write_text(DOCUMENT)
        settings = ("--set", "data.filters=[]", "--set", "data.batching={mode: bucket}", "--set", "data.held_out=0",
                    "--set", "evaluate.batches=0", "--set", f"model.with={model}", *layout)
        self.run_conclave("--run-dir", "run", "--stop-after", 8, *settings, text=text)
        self.export(self.dir / "run", self.dir / "hf", "--dtype", "fp32")
        self.run_conclave("--run-dir", "run", "--resume", *settings, text=text)
        end_of_text = 257  # bytes, then <s>, </s>, <pad>
        heard = self.ask(SCORE, self.dir / "hf", [*DOCUMENT.encode(), end_of_text])
        self.assertEqual(heard["form"], form)
        self.assertEqual(heard["missing"] + heard["unexpected"], [])
        self.assertAlmostEqual(heard["nll"], metrics(self.dir / "run")[("step", 9)]["nll"], delta=1e-5)
        self.export(self.dir / "run", self.dir / "small") # bf16 unless asked otherwise
        self.assertEqual([self.ask(DTYPE, self.dir / folder) for folder in ("hf", "small")], ["torch.float32", "torch.bfloat16"])

    def test_mixtral_form(self):
        self.check_numbers(PLAIN, "mixtral")

    def test_qwen3_moe_form(self):
        self.check_numbers(PLAIN.replace("{", "{qk_norm: true, ", 1), "qwen3_moe")

    def test_folded_ranks(self):
        self.check_numbers(PLAIN, "mixtral", *FOLDED)

    def test_a_pipeline_with_tied_embeddings(self):
        self.check_numbers(TIED, "mixtral", *PIPELINE)

    def test_the_tokenizer_gives_the_same_ids(self):
        self.run_conclave("--run-dir", "run", "--stop-after", 1, "--set", f"model.with={PLAIN}", "--set",
                          "data.tokenizer={use: tokenizer/sentencepiece, with: {vocabulary: 300}}")
        self.export(self.dir / "run", self.dir / "hf")
        theirs, sentencepiece = self.ask(TOKENISE, self.dir / "hf", "the river turns  into\n green light, naïve 水")
        self.assertEqual(theirs, sentencepiece)

    def test_a_byte_level_tokenizer_gives_the_same_ids(self):
        self.run_conclave("--run-dir", "run", "--stop-after", 1, "--set", f"model.with={PLAIN}", "--set",
                          "data.tokenizer={use: tokenizer/hf-bpe, with: {vocabulary: 300, family: deepseek3}}")
        self.export(self.dir / "run", self.dir / "hf")
        through_transformers, tokenizers, end = self.ask(BYTE_LEVEL, self.dir / "hf", "the river turns  into\n green 123 naïve 水")
        self.assertEqual(through_transformers, tokenizers)
        self.assertLess(len(tokenizers), 40)
        self.assertEqual(end, 1)
