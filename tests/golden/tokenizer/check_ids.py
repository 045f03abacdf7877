"""Ids of tokenizer/hf-bpe against Hugging Face's tokenizers, for vocabularies trained under the pre-tokenisers of known families.

    PYTHONPATH=.deps/oracles python3 tests/golden/tokenizer/check_ids.py --encoder build/bin/bench_tokenize \\
        --plugin build/plugins/tokenizer-hf-bpe.so [--megabytes 4] [--hostile 2000] [--vocabulary 32000] [--families gpt2,...]

Three checks a family: ids of each corpus of .deps/text (where it is) and of hostile Unicode; that both give the texts back;
and that our training on the same texts gives the same merges, in a file that theirs loads and encodes with alike.
Without Hugging Face's tokenizers it is skipped.
"""
import argparse
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

try:
    import numpy
    import tokenizers
except ImportError as missing:
    print(f"SKIPPED: {missing.name} is missing (tools/bootstrap --oracles): nothing checked the ids")
    sys.exit(77)
import families

os.environ["TOKENIZERS_PARALLELISM"] = "false"


def write_records(path, texts):
    with open(path, "wb") as file:
        for text in texts:
            data = text if isinstance(text, bytes) else text.encode()
            file.write(struct.pack("<I", len(data)) + data)


def read_ids(path):
    data, at, ids = numpy.fromfile(path, dtype="<u4"), 0, []
    while at < len(data):
        ids.append(data[at + 1:at + 1 + data[at]])
        at += 1 + int(data[at])
    return ids


def their_ids(tokenizer, texts, batch=256):
    """Batch by batch: their encodings are far larger than the ids."""
    for begin in range(0, len(texts), batch):
        for encoding in tokenizer.encode_batch_fast(texts[begin:begin + batch], add_special_tokens=False):
            yield encoding.ids


class Check:
    def __init__(self, arguments, folder):
        self.arguments, self.folder, self.failures, self.bytes = arguments, folder, 0, 0

    def ours(self, texts, **options):
        """Our ids, what bench_tokenize said, and the folder with our files."""
        records, out = self.folder / "texts", self.folder / "out"
        out.mkdir(exist_ok=True)
        write_records(records, texts)
        command = [self.arguments.encoder, self.arguments.plugin, "tokenizer/hf-bpe", records, out]
        done = subprocess.run([*command, *(f"{k}={v}" for k, v in options.items())], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"bench_tokenize failed: {done.stderr}")
        return read_ids(out / "ids"), dict(line.split() for line in done.stdout.splitlines()), out

    def fail(self, *words):
        self.failures += 1
        if self.failures < 20:
            print("FAILED", *words)

    def compare(self, name, theirs, texts, file):
        ours, said, _ = self.ours(texts, file=file)
        wrong = 0
        for text, ids, their in zip(texts, ours, their_ids(theirs, texts), strict=True):
            ids = ids.tolist()
            if ids != their:
                wrong += 1
                at = next((i for i, (a, b) in enumerate(zip(ids, their)) if a != b), min(len(ids), len(their)))
                self.fail(name, "token", at, "ours", ids[at:at + 4], "theirs", their[at:at + 4], "of", repr(text[:200]))
        size = sum(len(text.encode()) for text in texts)
        self.bytes += size
        print(f"{name}: {len(texts)} texts, {size / 1e6:.1f} MB, {sum(map(len, ours))} ids, {wrong} texts differ; "
              f"{said['came_back']} came back")
        return said

    def family(self, name):
        arguments = self.arguments
        texts = {each: families.corpus(arguments.text, each, arguments.megabytes)
                 for each in ("code", "web", "papers", "encyclopedia") if (arguments.text / each).is_dir()}
        hostile = families.hostile(arguments.hostile, seed=len(name))
        if arguments.trained:
            path = arguments.trained / f"{name}.json"
            theirs = tokenizers.Tokenizer.from_file(str(path))
        else:
            sample = [text for each in texts.values() for text in each[::3]] + families.hostile(2000, seed=7)
            theirs = families.train(name, sample, arguments.vocabulary)
            path = self.folder / f"{name}.json"
            theirs.save(str(path))
        for each, of_corpus in texts.items():
            self.compare(f"{name}, {each}", theirs, of_corpus, path)
        said = self.compare(f"{name}, hostile", theirs, hostile, path)
        if name != "qwen2" and int(said["came_back"]) < 0.5 * len(hostile):  # special tokens have no text, NFC changes it
            self.fail(name, "too few hostile texts came back")

    def training(self, name):
        """Ours and theirs on the same texts: the same file but for its form."""
        texts = families.hostile(800, seed=3) + [text for each in ("code", "papers")
                                                  for text in families.corpus(self.arguments.text, each, 1)
                                                  if (self.arguments.text / each).is_dir()]
        special = ["<|begin_of_text|>", "<|end_of_text|>", "<|pad|>"]
        normaliser, pre_tokeniser, _, _ = families.FAMILIES[name]()
        theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
        if normaliser is not None:
            theirs.normalizer = normaliser
        theirs.pre_tokenizer = pre_tokeniser
        theirs.train_from_iterator(texts, tokenizers.trainers.BpeTrainer(
            vocab_size=6000, min_frequency=2, show_progress=False, special_tokens=special,
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
        ids, _, out = self.ours(texts, family=name, vocabulary=6000, min_frequency=2)
        one, two = json.loads((out / "tokenizer.json").read_text())["model"], json.loads(theirs.to_str())["model"]
        if one["vocab"] != two["vocab"] or one["merges"] != two["merges"]:
            at = next((i for i, (a, b) in enumerate(zip(one["merges"], two["merges"])) if a != b), "the end")
            self.fail(name, "training differs from merge", at, "on")
        loaded = tokenizers.Tokenizer.from_file(str(out / "tokenizer.json"))
        for text, mine, their in zip(texts, ids, their_ids(loaded, texts), strict=True):
            if mine.tolist() != their:
                self.fail(name, "trained here, encodes otherwise there:", repr(text[:200]))
        print(f"{name}: trained {len(one['merges'])} merges on {sum(map(len, texts))} characters, as theirs are: "
              f"{one['merges'] == two['merges']}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--plugin", required=True)
    parser.add_argument("--text", type=pathlib.Path, default=os.environ.get("CONCLAVE_TEXT", ".deps/text"))
    parser.add_argument("--megabytes", type=int, default=1, help="of each corpus")
    parser.add_argument("--hostile", type=int, default=800, help="texts")
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--families", default=",".join(families.FAMILIES))
    parser.add_argument("--trained", type=pathlib.Path, help="a folder of FAMILY.json made before")
    parser.add_argument("--no-training", action="store_true")
    arguments = parser.parse_args()
    arguments.text = pathlib.Path(arguments.text)
    with tempfile.TemporaryDirectory() as folder:
        check = Check(arguments, pathlib.Path(folder))
        for name in arguments.families.split(","):
            check.family(name)
            if name != "starcoder" and not arguments.no_training:  # which training does not offer
                check.training(name)
    print(f"{check.bytes / 1e6:.1f} MB compared, {check.failures} failures")
    return 1 if check.failures else 0


if __name__ == "__main__":
    sys.exit(main())
