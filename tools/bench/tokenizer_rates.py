#!/usr/bin/env python3
"""MB/s of tokenizer/hf-bpe beside Hugging Face's tokenizers, one thread each, in one run, on the Go source and the Python
documentation of tools/bootstrap --text.

    ninja -C build bench_tokenize plugin_tokenizer_hf_bpe
    PYTHONPATH=.deps/oracles python3 tools/bench/tokenizer_rates.py [--megabytes 16] [--vocabulary 100000] [--trained FOLDER]

Theirs is encode_batch_fast, which computes no offsets: the best of three rounds. Ours is the median of five. The ids of both
are compared, too.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
sys.path[:0] = [str(ROOT / "tests/golden/tokenizer"), str(ROOT / ".deps/oracles")]
import tokenizers  # noqa: E402

import check_ids  # noqa: E402
import families  # noqa: E402


def seconds_of_theirs(tokenizer, documents):
    """The best of three rounds, and the ids."""
    rounds = []
    for _ in range(3):
        start = time.perf_counter()
        encodings = tokenizer.encode_batch_fast(documents, add_special_tokens=False)
        rounds.append(time.perf_counter() - start)
    return min(rounds), [encoding.ids for encoding in encodings]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--text", type=pathlib.Path, default=ROOT / ".deps/text")
    parser.add_argument("--megabytes", type=int, default=16, help="of source, and as much of documentation")
    parser.add_argument("--vocabulary", type=int, default=100_000)
    parser.add_argument("--trained", type=pathlib.Path, help="a folder of FAMILY.json made before")
    parser.add_argument("--families", default="gpt2,llama3,qwen2,deepseek3")
    arguments = parser.parse_args()
    texts = {name: families.corpus(arguments.text, name, arguments.megabytes) for name in ("code", "papers")}
    print(f"{'':24}{'bytes/token':>12}{'ours MB/s':>12}{'HF MB/s':>12}{'times':>8}")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name in arguments.families.split(","):
            path = (arguments.trained or folder) / f"{name}.json"
            if not path.exists():
                sample = [text for each in texts.values() for text in each[::2]]
                families.train(name, sample, arguments.vocabulary).save(str(path))
            theirs = tokenizers.Tokenizer.from_file(str(path))
            for corpus, documents in texts.items():
                check_ids.write_records(folder / "texts", documents)
                command = [arguments.build / "bin/bench_tokenize", arguments.build / "plugins/tokenizer-hf-bpe.so",
                           "tokenizer/hf-bpe", folder / "texts"]
                said = subprocess.run([*command, "-", f"file={path}"], check=True, capture_output=True, text=True).stdout
                said = dict(line.split() for line in said.splitlines())
                subprocess.run([*command, folder, f"file={path}"], check=True, capture_output=True)
                seconds, ids = seconds_of_theirs(theirs, documents)
                if [mine.tolist() for mine in check_ids.read_ids(folder / "ids")] != ids:
                    sys.exit(f"{name}, {corpus}: the ids differ")
                size, ours = int(said["bytes"]), float(said["megabytes_per_second"])
                print(f"{name + ', ' + corpus:24}{size / int(said['tokens']):12.2f}{ours:12.1f}{size / 1e6 / seconds:12.2f}"
                      f"{ours * seconds / (size / 1e6):8.1f}", flush=True)


if __name__ == "__main__":
    main()
