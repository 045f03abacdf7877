#!/usr/bin/env python3
"""Figures of tools/bench/gpu that only whole runs give: `conclave run` on a GPU, read from its metrics.jsonl.

    gpu_runs.py buckets CONCLAVE        documents of 512 to 2048 tokens in buckets, beside documents that all have 2048
    gpu_runs.py start CONCLAVE          from starting `conclave run` on R1 to its first step in metrics.jsonl
    gpu_runs.py curves CONCLAVE --text ENCYCLOPEDIA_FOLDER     2,000 steps with our kernels and with LibTorch's operators, 3 seeds

buckets: 8 layers of shape r1, steps of about 100k tokens in eight micro-batches; tokens that count, a second, over the second half
of the steps. start: R1 but for its vocabulary, which is of bytes, 8 sequences of 4096, weights new, text prepared before; the process and all of its libraries anew each
time. The text of both is random letters, a byte a token. curves: the quickstart's model on the encyclopedia's text; the mean nll of
the last tenth of the steps. Standard library only. --device cpu and --quick: to see that it runs.
"""
import argparse
import json
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

# JSON is YAML: an experiment can be a dict.
SMALL = {"layers": 2, "width": 64, "heads": 4, "kv_heads": 2, "head_width": 16, "experts": 4, "top_k": 2, "expert_width": 32}
R1 = {"layers": 8, "width": 2048, "heads": 16, "kv_heads": 4, "head_width": 128, "experts": 16, "top_k": 2, "expert_width": 1408}
QUICKSTART = {"layers": 4, "width": 128, "heads": 4, "kv_heads": 2, "head_width": 32, "experts": 16, "top_k": 2, "expert_width": 128,
              "hierarchy": {"local_layers": 2, "window": 64, "head_gates": True}}


def figure(name, value, unit, n):
    print(f"figure {name} = {value:.6g} {unit} (n={n})", flush=True)


def command(args, folder, name, experiment):
    """The arguments of a run in folder/name."""
    file = folder / f"{name}.yaml"
    file.write_text(json.dumps({"conclave": 1, "name": name, "monitors": [{"use": "monitor/jsonl"}], **experiment}))
    return [args.conclave, "run", file, "--run-dir", folder / name, "--device", args.device, "--quiet"]


def run(args, folder, name, experiment):
    """The step rows of metrics.jsonl."""
    run_dir = folder / name
    done = subprocess.run(command(args, folder, name, experiment), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        print(done.stderr.strip() or f"conclave run ended with {done.returncode}", file=sys.stderr)
        sys.exit(3 if done.returncode == 3 else 1)
    # A log line that a GPU's steps are not recorded belongs to the figure.
    for line in (run_dir / "log.0.txt").read_text().splitlines():
        if "graph" in line:
            print(f"note {name}: {line.split('] ')[-1].strip()}", flush=True)
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["event"] == "step"]


def write_documents(file, lengths):
    letters = random.Random(1)
    with file.open("w") as out:
        for length in lengths:
            out.write(json.dumps({"text": "".join(letters.choices("abcdefghijklmnopqrstuvwxyz ", k=length))}) + "\n")


def buckets(args, folder):
    steps = 6 if args.quick else 40
    shapes = {"fixed": (48, lambda _: 2046), "bucketed": (80, lambda chance: chance.randint(512, 2046))} # and two special ids
    if args.device == "cpu":
        shapes = {name: (4, length) for name, (_, length) in shapes.items()}
    for name, (batch, length) in shapes.items():
        chance = random.Random(2)
        file = folder / f"{name}.jsonl"
        write_documents(file, [length(chance) for _ in range(batch * 20)])
        rows = run(args, folder, name, {
            "seed": 1,
            "data": {"domains": {"text": {"share": 100, "source": {"use": "source/jsonl", "with": {"paths": str(file)}}}},
                     "tokenizer": {"use": "tokenizer/bytes"}, "length": {"min": 512, "max": 2048},
                     "batching": {"mode": "bucket", "bucket_step": 64}, "held_out": 0, "cache": str(folder / "cache")},
            "evaluate": {"batches": 0},
            "model": {"use": "model/moe-transformer", "with": R1 if args.device == "cuda" else SMALL},
            "optimizer": {"use": "optimizer/adamw", "with": {"lr": 1e-4}},
            "scheduler": {"use": "scheduler/constant"},
            "precision": {"compute": "bf16"},
            "train": {"steps": steps, "batch": batch, "micro_batch": batch // 8}})
        rows = rows[len(rows) // 2:]
        figure(name, sum(r["tokens"] for r in rows) / sum(r["step_seconds"] for r in rows), "tokens/s", len(rows))


def start(args, folder):
    file = folder / "text.jsonl"
    write_documents(file, [4096] * 64)
    experiment = lambda model: {
        "seed": 1,
        "data": {"domains": {"text": {"share": 100, "source": {"use": "source/jsonl", "with": {"paths": str(file)}}}},
                 "tokenizer": {"use": "tokenizer/bytes"}, "length": {"min": 512, "max": 4096}, "held_out": 0, "cache": str(folder / "cache")},
        "evaluate": {"batches": 0},
        "model": {"use": "model/moe-transformer", "with": model},
        "optimizer": {"use": "optimizer/adamw", "with": {"lr": 1e-4}},
        "scheduler": {"use": "scheduler/constant"},
        "precision": {"compute": "bf16"},
        "train": {"steps": 1, "batch": 8, "micro_batch": 8}}
    run(args, folder, "prepares", experiment(SMALL))
    seconds = []
    for i in range(1 if args.quick else 5):
        begin = time.monotonic()
        child = subprocess.Popen(command(args, folder, f"start-{i}", experiment({**R1, "layers": 24} if args.device == "cuda" else SMALL)),
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        metrics = folder / f"start-{i}" / "metrics.jsonl"
        while child.poll() is None and not (metrics.exists() and '"event":"step"' in metrics.read_text().replace(" ", "")):
            time.sleep(0.01)
        seconds.append(time.monotonic() - begin)
        for line in (folder / f"start-{i}" / "log.0.txt").read_text().splitlines() if i == 0 else []:
            print(f"log {line}", file=sys.stderr)
        # What it does after its first step, a checkpoint, is of no use here.
        if child.poll() is None:
            child.kill()
        elif child.returncode != 0:
            sys.exit(child.stderr.read().strip() or f"conclave run ended with {child.returncode}")
        child.communicate()
        shutil.rmtree(folder / f"start-{i}")
    figure("first_step", statistics.median(seconds), "s", len(seconds))


def curves(args, folder):
    steps = 20 if args.quick else 2000
    ends = {"fused": [], "reference": []}
    for seed in (1, 2, 3):
        for operators, end in ends.items():
            rows = run(args, folder, f"{operators}-{seed}", {
                "seed": seed,
                "data": {"domains": {"text": {"share": 100, "source": {"use": "source/dictd", "with": {
                             "paths": str(args.text.resolve() / "*.index"), "entries_per_document": 16}}}},
                         "tokenizer": {"use": "tokenizer/sentencepiece", "with": {"vocabulary": 4096}}, "tokenizer_sample": 8_000_000,
                         "length": {"min": 32, "max": 256, "too_long": "split"}, "cache": str(folder / "cache")},
                "model": {"use": "model/moe-transformer", "with": QUICKSTART},
                "optimizer": {"use": "optimizer/adamw", "with": {"lr": 3e-3, "betas": [0.9, 0.98], "eps": 1e-6}},
                "scheduler": {"use": "scheduler/warmup-cosine", "with": {"warmup": steps // 20}},
                "precision": {"compute": "bf16"},
                "train": {"steps": steps, "batch": 16, "micro_batch": 16, "operators": operators}})
            end.append(statistics.fmean(row["nll"] for row in rows[-max(1, len(rows) // 10):]))
    for operators, end in ends.items():
        figure(operators, statistics.fmean(end), "nats", len(end))
    figure("difference", abs(statistics.fmean(ends["fused"]) - statistics.fmean(ends["reference"])), "nats", 3)
    figure("noise", max(ends["reference"]) - min(ends["reference"]), "nats", 3)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["buckets", "start", "curves"])
    parser.add_argument("conclave")
    parser.add_argument("--text", type=pathlib.Path, help="folder of a dictd database, as .deps/text/encyclopedia")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="few steps")
    args = parser.parse_args()
    if args.part == "curves" and not (args.text and any(args.text.glob("*.index"))):
        print(f"curves needs --text, a folder of a dictd database; {args.text or 'none'} has none", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="conclave-bench-") as folder:
        {"buckets": buckets, "start": start, "curves": curves}[args.part](args, pathlib.Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
