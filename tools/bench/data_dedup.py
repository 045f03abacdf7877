#!/usr/bin/env python3
"""Near-duplicate removal beside datatrove's MinHash (the code that made FineWeb), in one run on the same two cores.

    tools/bootstrap --text --peers
    ninja -C build program plugin_filter_minhash plugin_filter_simhash bench_dedup    # and the plugins that prepare loads
    PYTHONPATH=.deps/peers python3 tools/bench/data_dedup.py [quality] [speed]

quality: documents of real text, each with one near-copy of a known kind, among others. Pairs that each tool finds, against the
labels; and whether ours and datatrove's MinHash differ by more than the chance of two independent sets of hash functions.
speed: JSONL to documents without near-duplicates: signatures, buckets, clusters, filtering. Ours is a whole `conclave prepare`,
reading and tokenising to bytes included; datatrove's are its four MinHash steps, with a JSONL reader and writer.
"""
import argparse
import gzip
import html
import json
import os
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORKERS = 2
NGRAM, BANDS, ROWS = 5, 14, 8
TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.S | re.I)


# ---- text ------------------------------------------------------------------------------------------------------------

def pages(folder):
    for path in sorted(folder.rglob("*.html")):
        yield html.unescape(TAGS.sub(" ", path.read_text("utf-8", "replace")))


def sources(folder):
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".go", ".s", ".c", ".h") and path.is_file():
            yield path.read_text("utf-8", "replace")


def entries(folder):
    text = gzip.open(folder / "gcide.dict.dz", "rb").read().decode("utf-8", "replace")
    yield from (text[at:at + 4000] for at in range(0, len(text), 4000))


def documents(text, megabytes):
    """Documents of at most 16 kB of all corpora, so many MB or all there is."""
    left = megabytes * 1_000_000 if megabytes else float("inf")
    for corpus in (pages(text / "web"), entries(text / "encyclopedia"), pages(text / "papers"), sources(text / "code")):
        for whole in corpus:
            for at in range(0, len(whole), 16_000):
                part = whole[at:at + 16_000].strip()
                if len(part) < 200:
                    continue
                yield part
                left -= len(part.encode())
                if left <= 0:
                    return


def write_jsonl(folder, texts):
    """One file a worker; returns the texts in the order in which they are read."""
    folder.mkdir()
    half = (len(texts) + WORKERS - 1) // WORKERS
    for worker in range(WORKERS):
        with open(folder / f"{worker}.jsonl", "w", encoding="utf-8") as file:
            for text in texts[worker * half:(worker + 1) * half]:
                file.write(json.dumps({"text": text}) + "\n")
    return half


# ---- datatrove -------------------------------------------------------------------------------------------------------

def datatrove(folder, work):
    """Runs the four steps. Returns {(file, document): cluster} of duplicates, and the seconds of each step."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter,
                                          MinhashDedupSignature)
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.hashing import HashConfig
    config = MinhashConfig(n_grams=NGRAM, num_buckets=BANDS, hashes_per_bucket=ROWS,
                           hash_config=HashConfig(precision=64))
    steps = [
        ("signatures", WORKERS, [JsonlReader(str(folder)), MinhashDedupSignature(str(work / "signatures"), config)]),
        ("buckets", BANDS, [MinhashDedupBuckets(str(work / "signatures"), str(work / "buckets"), config=config)]),
        ("clusters", 1, [MinhashDedupCluster(str(work / "buckets"), str(work / "remove"), config, save_cluster_id=True)]),
        ("filter", WORKERS, [JsonlReader(str(folder)), MinhashDedupFilter(str(work / "remove")),
                             JsonlWriter(str(work / "kept"), compression=None)]),
    ]
    seconds = {}
    for name, tasks, pipeline in steps:
        start = time.perf_counter()
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=WORKERS, logging_dir=str(work / "logs" / name)).run()
        seconds[name] = time.perf_counter() - start
    clusters = {}
    for path in (work / "remove").glob("*.clusters"):
        for document, cluster in struct.iter_unpack("<2I", path.read_bytes()):
            clusters[int(path.stem), document] = cluster
    return clusters, seconds


# ---- quality ---------------------------------------------------------------------------------------------------------

def shingles(text):
    words = re.findall(r"[^\W_]+", text.lower())
    return {tuple(words[i:i + NGRAM]) for i in range(len(words) - NGRAM + 1)}


def jaccard(one, two):
    common = len(one & two)
    return common / (len(one) + len(two) - common)


def drop_words(text, share, chance):
    return " ".join(word for word in text.split(" ") if chance.random() >= share)


def swap_frame(text, chance, strangers):
    """Another header and footer of forty words each."""
    words = text.split(" ")
    cut = [chance.choice(strangers).split(" ")[:40] for _ in range(2)]
    return " ".join(cut[0] + words[40:-40] + cut[1])


KINDS = {
    "1 % of the words dropped": lambda text, chance, _: drop_words(text, 0.01, chance),
    "2 % of the words dropped": lambda text, chance, _: drop_words(text, 0.02, chance),
    "4 % of the words dropped": lambda text, chance, _: drop_words(text, 0.04, chance),
    "8 % of the words dropped": lambda text, chance, _: drop_words(text, 0.08, chance),
    "other header and footer": swap_frame,
}


def plant(text, count):
    """Texts, and {kind: [(index, index of its copy)]}. What is near another by nature stays out: it has no label."""
    chance = random.Random(1)
    pool = [part for part in documents(text, None) if 1500 <= len(part) and len(part.split()) >= 250]
    chance.shuffle(pool)
    seen, distinct = {}, []
    for part in pool:
        own = shingles(part)
        shared = {}
        for shingle in own:
            for other in seen.get(shingle, ()):
                shared[other] = shared.get(other, 0) + 1
        if own and max(shared.values(), default=0) < 0.1 * len(own):
            for shingle in own:
                seen.setdefault(shingle, []).append(len(distinct))
            distinct.append(part)
        if len(distinct) == 3 * count:
            break
    bases, strangers = distinct[:count], distinct[count:]
    copies = [(kind, make) for kind, make in KINDS.items()]
    texts = [("base", i, base) for i, base in enumerate(bases)] + [("other", None, other) for other in strangers]
    for i, base in enumerate(bases):
        kind, make = copies[i % len(copies)]
        texts.append((kind, i, make(base, chance, strangers)))
    chance.shuffle(texts)
    place = {number: at for at, (kind, number, _) in enumerate(texts) if kind == "base"}
    pairs = {}
    for at, (kind, number, _) in enumerate(texts):
        if kind in KINDS:
            pairs.setdefault(kind, []).append((place[number], at))
    return [each for _, _, each in texts], pairs


def pairs_of(clusters):
    """All pairs within clusters, {document: cluster}."""
    members = {}
    for document, cluster in clusters.items():
        members.setdefault(cluster, []).append(document)
    found = set()
    for each in members.values():
        each.sort()
        found.update((one, two) for i, one in enumerate(each) for two in each[i + 1:])
    return found


def ours(build, plugin, texts, folder, options=()):
    with open(folder / "texts", "wb") as file:
        for each in texts:
            data = each.encode()
            file.write(struct.pack("<I", len(data)) + data)
    said = subprocess.run([build / "bin/bench_dedup", build / f"plugins/filter-{plugin}.so", f"filter/{plugin}",
                           folder / "texts", folder / "firsts", *options], check=True, capture_output=True, text=True).stdout
    firsts = struct.unpack(f"<{len(texts)}Q", (folder / "firsts").read_bytes())
    return dict(enumerate(firsts)), dict(line.split() for line in said.splitlines())


def quality(arguments, folder):
    texts, labels = plant(arguments.text, arguments.planted)
    truth = {tuple(sorted(pair)) for each in labels.values() for pair in each}
    size = sum(len(each.encode()) for each in texts) / 1e6
    print(f"{len(texts)} documents, {size:.1f} MB, of which {len(truth)} have one near-copy")
    half = write_jsonl(folder / "planted", texts)
    theirs, _ = datatrove(folder / "planted", folder / "planted-work")
    clusters = {file * half + document: cluster for (file, document), cluster in theirs.items()}
    tools = {"datatrove MinHash": pairs_of(clusters)}
    for name, plugin, options in (("filter/minhash", "minhash", ()), ("filter/simhash", "simhash", ()),
                                  ("filter/simhash, distance 6", "simhash", ("distance=6",))):
        tools[name] = pairs_of(ours(arguments.build, plugin, texts, folder, options)[0])
    print(f"{'':28}{'precision':>10}{'recall':>10}{'F1':>10}   recall by kind: {'; '.join(KINDS)}")
    for name, found in tools.items():
        right = len(found & truth)
        precision, recall = right / max(len(found), 1), right / len(truth)
        kinds = [sum(tuple(sorted(p)) in found for p in labels[kind]) / len(labels[kind]) for kind in KINDS]
        f1 = 2 * precision * recall / max(precision + recall, 1e-9)
        print(f"{name:28}{precision:10.4f}{recall:10.4f}{f1:10.4f}   "
              + "".join(f"{each:8.3f}" for each in kinds))
    differ = variance = expected = 0
    for one, two in truth:
        similarity = jaccard(shingles(texts[one]), shingles(texts[two]))
        chance = 1 - (1 - similarity ** ROWS) ** BANDS
        either = 2 * chance * (1 - chance)
        expected += either
        variance += either * (1 - either)
        differ += ((one, two) in tools["filter/minhash"]) != ((one, two) in tools["datatrove MinHash"])
    both = tools["filter/minhash"] & tools["datatrove MinHash"]
    print(f"pairs that both MinHashes find: {len(both)}; of the planted, {differ} only one does. "
          f"Independent hash functions differ on {expected:.0f} +- {variance ** 0.5:.0f}")


# ---- speed -----------------------------------------------------------------------------------------------------------

EXPERIMENT = """
conclave: 1
name: bench
data:
  domains: {{all: {{share: 1, source: {{use: source/jsonl, with: {{paths: "{folder}/*.jsonl"}}}}}}}}
  filters: [{{use: {filter}}}]
  tokenizer: {{use: tokenizer/bytes}}
  length: {{min: 1, max: 4096, too_long: split}}
  cache: {cache}
  workers: {workers}
  memory: {memory}
model: {{use: model/moe-transformer, with: {{layers: 1, width: 16, heads: 1, kv_heads: 1, head_width: 16, experts: 1, top_k: 1, expert_width: 16}}}}
optimizer: {{use: optimizer/adamw, with: {{lr: 1e-3}}}}
scheduler: {{use: scheduler/constant}}
train: {{steps: 1, batch: 1, micro_batch: 1}}
monitors: [{{use: monitor/console}}]
checkpoint: {{use: checkpoint/keep-last, with: {{every: 1, keep: 1}}}}
"""


def prepare(arguments, folder, name, filter_id, memory):
    """Seconds, documents kept, and the largest resident memory in MiB."""
    cache = folder / f"cache-{name}"
    (folder / f"{name}.yaml").write_text(EXPERIMENT.format(folder=folder / "corpus", filter=filter_id, cache=cache,
                                                            workers=WORKERS, memory=memory))
    start = time.perf_counter()
    process = subprocess.Popen([arguments.build / "bin/conclave", "prepare", folder / f"{name}.yaml"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        sys.exit(error.decode())
    kept = next(cache.glob("select-*/kept-0")).stat().st_size // 8
    shutil.rmtree(cache)
    return seconds, kept, usage.ru_maxrss / 1024


def speed(arguments, folder):
    texts = list(documents(arguments.text, arguments.megabytes))
    size = sum(len(each.encode()) for each in texts) / 1e6
    write_jsonl(folder / "corpus", texts)
    print(f"{len(texts)} documents, {size:.1f} MB, {WORKERS} workers")
    _, seconds = datatrove(folder / "corpus", folder / "corpus-work")
    theirs = sum(seconds.values())
    kept = sum(1 for path in (folder / "corpus-work/kept").glob("*") for _ in open(path, "rb"))
    steps = ", ".join(f"{name} {each:.1f} s" for name, each in seconds.items())
    print(f"{'datatrove MinHash':36}{theirs:9.2f} s {size / theirs:9.2f} MB/s            kept {kept}   {steps}")
    for name, filter_id, memory in (("minhash", "filter/minhash", "1GiB"), ("minhash, 16 MiB to sort", "filter/minhash", "16MiB"),
                                    ("simhash", "filter/simhash", "1GiB")):
        took, left, resident = min((prepare(arguments, folder, name.split(",")[0], filter_id, memory) for _ in range(3)))
        print(f"{'prepare with ' + name:36}{took:9.2f} s {size / took:9.2f} MB/s {theirs / took:7.0f} x   kept {left}   "
              f"resident at most {resident:.0f} MiB")
    for plugin in ("minhash", "simhash"):
        _, said = ours(arguments.build, plugin, texts, folder)
        print(f"filter/{plugin}: annotate {said['annotate_megabytes_per_second']} MB/s on one thread; {said['keys']} keys to "
              f"clusters {said['cluster_seconds']} s on one thread")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["quality", "speed"])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--text", type=pathlib.Path, default=ROOT / ".deps/text")
    parser.add_argument("--megabytes", type=int, default=60, help="of text for speed; 0: all")
    parser.add_argument("--planted", type=int, default=1000, help="documents with a near-copy")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for part in arguments.parts:
            {"quality": quality, "speed": speed}[part](arguments, pathlib.Path(folder))


if __name__ == "__main__":
    main()
