#!/usr/bin/env python3
"""Raw text to token shards beside the same pipeline in datatrove (the code that made FineWeb), in one run on the same two cores.

    tools/bootstrap --text --peers --oracles
    ninja -C build program     # and the plugins that the pipeline names
    PYTHONPATH=.deps/peers python3 tools/bench/data_pipeline.py [--megabytes 20]

Documents of all corpora, in random order, as JSONL; Gopher's quality rules and its repetition rules; MinHash of 14 bands of 8 rows
over 5-grams; byte-level BPE from one tokenizer.json, trained here; token shards. Ours is a whole `conclave prepare`, with the digests and the syncing of its cache.
datatrove's are its steps one after another, two processes each. Both get the same files.
"""
import argparse
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tools/bench"))
from data_dedup import BANDS, NGRAM, ROWS, WORKERS, documents, write_jsonl  # noqa: E402

EXPERIMENT = """
conclave: 1
name: bench
data:
  domains: {{all: {{share: 1, source: {{use: source/jsonl, with: {{paths: "{folder}/*.jsonl"}}}}}}}}
  filters: [{{use: filter/gopher-repetition}}, {{use: filter/gopher-quality}}, {{use: filter/minhash}}]
  tokenizer: {{use: tokenizer/hf-bpe, with: {{file: {tokenizer}}}}}
  length: {{min: 1, max: 4096, too_long: split}}
  held_out: 1%
  cache: {cache}
  workers: {workers}
model: {{use: model/moe-transformer, with: {{layers: 1, width: 16, heads: 1, kv_heads: 1, head_width: 16, experts: 1, top_k: 1, expert_width: 16}}}}
optimizer: {{use: optimizer/adamw, with: {{lr: 1e-3}}}}
scheduler: {{use: scheduler/constant}}
train: {{steps: 1, batch: 1, micro_batch: 1}}
monitors: [{{use: monitor/console}}]
checkpoint: {{use: checkpoint/keep-last, with: {{every: 1, keep: 1}}}}
"""


def mixed(texts, megabytes):
    """So many MB of a random order, the same every time."""
    order = random.Random(1).sample(range(len(texts)), len(texts))
    left, taken = megabytes * 1_000_000, []
    for i in order:
        if left <= 0:
            break
        taken.append(texts[i])
        left -= len(texts[i].encode())
    return taken


def train_tokenizer(texts, path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=32000, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.save(str(path))


def theirs(folder, work, tokenizer):
    """Seconds of each step, and the tokens."""
    from loguru import logger
    logger.remove()  # its processes have a log file each
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.hashing import HashConfig
    config = MinhashConfig(n_grams=NGRAM, num_buckets=BANDS, hashes_per_bucket=ROWS, hash_config=HashConfig(precision=64))
    filtered = str(work / "filtered")
    steps = [
        ("filters", WORKERS, [JsonlReader(str(folder)), GopherRepetitionFilter(), GopherQualityFilter(),
                              JsonlWriter(filtered, compression=None)]),
        ("signatures", WORKERS, [JsonlReader(filtered), MinhashDedupSignature(str(work / "signatures"), config)]),
        ("buckets", BANDS, [MinhashDedupBuckets(str(work / "signatures"), str(work / "buckets"), config=config)]),
        ("clusters", 1, [MinhashDedupCluster(str(work / "buckets"), str(work / "remove"), config)]),
        ("tokens", WORKERS, [JsonlReader(filtered), MinhashDedupFilter(str(work / "remove")),
                             DocumentTokenizer(str(work / "tokens"), str(tokenizer), eos_token="<|endoftext|>", shuffle_documents=False)]),
    ]
    seconds = {}
    for name, tasks, pipeline in steps:
        start = time.perf_counter()
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=WORKERS, logging_dir=str(work / "logs" / name)).run()
        seconds[name] = time.perf_counter() - start
    return seconds, sum(path.stat().st_size for path in (work / "tokens").glob("*.ds")) // 2


def anonymous_memory(process):
    """RssAnon in MiB: what a process holds beside the pages of mapped files, which the kernel takes back as it likes."""
    try:
        status = pathlib.Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("RssAnon")), 0)


def ours(build, folder, tokenizer, corpus):
    """Seconds, tokens and the most anonymous memory of one `conclave prepare` into an empty cache."""
    cache = folder / "cache"
    (folder / "bench.yaml").write_text(EXPERIMENT.format(folder=corpus, tokenizer=tokenizer, cache=cache, workers=WORKERS))
    start = time.perf_counter()
    process = subprocess.Popen([build / "bin/conclave", "prepare", folder / "bench.yaml"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    most = 0
    while process.poll() is None:
        most = max(most, anonymous_memory(process.pid))
        time.sleep(0.02)
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        sys.exit(process.stdout.read())
    tokens = sum(path.stat().st_size for path in cache.glob("corpus-*/*.tokens")) // 2
    shutil.rmtree(cache)
    return seconds, tokens, most


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--text", type=pathlib.Path, default=ROOT / ".deps/text")
    parser.add_argument("--megabytes", type=int, default=20, help="of text for both")
    parser.add_argument("--all", action="store_true", help="ours over all of the text, too")
    parser.add_argument("--rounds", type=int, default=3, help="of ours; the median is told")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        everything = list(documents(arguments.text, None))
        texts = mixed(everything, arguments.megabytes)
        size = sum(len(text.encode()) for text in texts) / 1e6
        write_jsonl(folder / "corpus", texts)
        train_tokenizer(texts[:: max(1, len(texts) // 2000)], folder / "tokenizer.json")
        print(f"{len(texts)} documents, {size:.1f} MB, {WORKERS} workers", flush=True)
        seconds, tokens = theirs(folder / "corpus", folder / "work", folder / "tokenizer.json")
        total = sum(seconds.values())
        steps = ", ".join(f"{step} {each:.1f} s" for step, each in seconds.items())
        print(f"{'datatrove':10}{total:9.2f} s {size / total:9.2f} MB/s            {tokens} tokens   {steps}", flush=True)
        rounds = sorted(ours(arguments.build, folder, folder / "tokenizer.json", folder / "corpus") for _ in range(arguments.rounds))
        took, tokens, most = rounds[len(rounds) // 2]
        print(f"{'conclave':10}{took:9.2f} s {size / took:9.2f} MB/s {total / took:7.0f} x   {tokens} tokens   "
              f"RssAnon at most {most:.0f} MiB", flush=True)
        if arguments.all:
            size = sum(len(text.encode()) for text in everything) / 1e6
            write_jsonl(folder / "all", everything)
            took, tokens, most = ours(arguments.build, folder, folder / "tokenizer.json", folder / "all")
            print(f"{'conclave':10}{took:9.2f} s {size / took:9.2f} MB/s of {size:.0f} MB; {tokens} tokens   RssAnon at most {most:.0f} MiB")


if __name__ == "__main__":
    main()
