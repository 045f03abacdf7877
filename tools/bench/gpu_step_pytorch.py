#!/usr/bin/env python3
"""GPU forward and backward of shape R1, bf16: bench_gpu_step against the same model in eager PyTorch, and the matmul ceiling,
in one run on one GPU.

    python3 tools/bench/gpu_step_pytorch.py BENCH_GPU_STEP MODEL.so [--batch 8] [--length 4096] [--compile]

The peer is what a PyTorch user would write: F.linear, F.scaled_dot_product_attention, torch._grouped_mm over tokens sorted by
expert, F.cross_entropy on all logits; bf16 weights. It runs twice: with bf16 gradients, and with gradients kept in fp32 as
Conclave keeps them (each is copied to an fp32 one as soon as it is there). One line a figure; medians of 10 repetitions after 3.
"""
import argparse
import statistics
import subprocess
import time

import torch
import torch.nn.functional as F

LAYERS, WIDTH, HEADS, KV_HEADS, HEAD, EXPERTS, TOP_K, EXPERT_WIDTH, VOCABULARY = 24, 2048, 16, 4, 128, 16, 2, 1408, 32000


def median_seconds(body, repeat=10):
    seconds = []
    for i in range(repeat + 3):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        body()
        torch.cuda.synchronize()
        if i >= 3:
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def ceiling(say):
    """The best bf16 matmul of a few sizes and layouts; 20 products a repetition, so that the clocks are those of load."""
    best = 0.0
    for n in (4096, 8192, 16384):
        a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        for layout, left, right in (("NN", a, b), ("NT", a, b.t()), ("TN", a.t(), b)):
            count = 20 if n < 16384 else 4
            flops = count * 2.0 * n**3 / median_seconds(lambda: [left @ right for _ in range(count)], 5)
            best = max(best, flops)
            if say:
                print(f"matmul bf16 {n}^3 {layout}: {flops / 1e12:.1f} TFLOP/s", flush=True)
    return best


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        weight = lambda *size: torch.nn.Parameter(torch.randn(*size, device="cuda", dtype=torch.bfloat16) * 0.02)
        ones = lambda: torch.nn.Parameter(torch.ones(WIDTH, device="cuda", dtype=torch.bfloat16))
        self.norm1, self.norm2 = ones(), ones()
        self.qkv, self.o = weight((HEADS + 2 * KV_HEADS) * HEAD, WIDTH), weight(WIDTH, HEADS * HEAD)
        self.router = weight(EXPERTS, WIDTH)
        self.gate_up, self.down = weight(EXPERTS, WIDTH, 2 * EXPERT_WIDTH), weight(EXPERTS, EXPERT_WIDTH, WIDTH)

    def rotate(self, x, cos, sin):
        low, high = x.chunk(2, -1)
        return torch.cat([low * cos - high * sin, high * cos + low * sin], -1)

    def experts(self, x):
        logits = F.linear(x, self.router).float()
        scores, chosen = logits.softmax(-1).topk(TOP_K, -1)
        scores = scores / scores.sum(-1, keepdim=True)
        order = chosen.flatten().argsort(stable=True)
        ends = torch.bincount(chosen.flatten(), minlength=EXPERTS).cumsum(0).to(torch.int32)
        token = order // TOP_K
        gate, up = torch._grouped_mm(x[token], self.gate_up, offs=ends).chunk(2, -1)
        out = torch._grouped_mm(F.silu(gate) * up, self.down, offs=ends)
        weighted = out * scores.flatten()[order, None].to(out.dtype)
        return torch.zeros_like(x).index_add(0, token, weighted)

    def forward(self, x, cos, sin):
        b, s, _ = x.shape
        h = F.rms_norm(x, (WIDTH,), self.norm1, 1e-6)
        sizes = [HEADS * HEAD, KV_HEADS * HEAD, KV_HEADS * HEAD]
        q, k, v = (p.view(b, s, -1, HEAD).transpose(1, 2) for p in F.linear(h, self.qkv).split(sizes, -1))
        y = F.scaled_dot_product_attention(self.rotate(q, cos, sin), self.rotate(k, cos, sin), v, is_causal=True, enable_gqa=True)
        x = x + F.linear(y.transpose(1, 2).reshape(b, s, -1), self.o)
        h = F.rms_norm(x, (WIDTH,), self.norm2, 1e-6)
        return x + self.experts(h.view(b * s, WIDTH)).view(b, s, WIDTH)


def peer_seconds(batch, length, compiled, main_gradients=False):
    torch.manual_seed(0)
    layers = torch.nn.ModuleList(Layer() for _ in range(LAYERS))
    table, head = (torch.nn.Parameter(torch.randn(VOCABULARY, WIDTH, device="cuda", dtype=torch.bfloat16) * 0.02) for _ in range(2))
    norm = torch.nn.Parameter(torch.ones(WIDTH, device="cuda", dtype=torch.bfloat16))
    angles = torch.outer(torch.arange(length, device="cuda"), 10000.0 ** (-torch.arange(0, HEAD, 2, device="cuda") / HEAD))
    cos, sin = angles.cos().bfloat16(), angles.sin().bfloat16()
    tokens, labels = (torch.randint(VOCABULARY, (batch, length), device="cuda") for _ in range(2))
    parameters = [*layers.parameters(), table, head, norm]
    run = [torch.compile(layer) for layer in layers] if compiled else layers

    def widen(p):
        p.main_grad.copy_(p.grad)
        p.grad = None

    if main_gradients:
        for p in parameters:
            p.main_grad = torch.zeros_like(p, dtype=torch.float32)
            p.register_post_accumulate_grad_hook(widen)

    def step():
        for p in parameters:
            p.grad = None
        x = F.embedding(tokens, table)
        for layer in run:
            x = layer(x, cos, sin)
        logits = F.linear(F.rms_norm(x, (WIDTH,), norm, 1e-6), head)
        F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten()).backward()

    seconds = median_seconds(step)
    return seconds, torch.cuda.max_memory_allocated() / 2**30


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench")
    parser.add_argument("model")
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 2])
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--compile", action="store_true", help="the peer's layers through torch.compile as well")
    args = parser.parse_args()
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    best = ceiling(say=True)
    print(f"matmul ceiling: {best / 1e12:.1f} TFLOP/s", flush=True)
    attention = LAYERS * 2 * args.length * HEADS * HEAD  # forward, causal: half of 4 S H D
    weights = LAYERS * (WIDTH * (2 * HEADS + 2 * KV_HEADS) * HEAD + WIDTH * EXPERTS + TOP_K * 3 * WIDTH * EXPERT_WIDTH) + WIDTH * VOCABULARY
    flops_per_token = 3 * (2 * weights + attention)
    for batch in args.batch:
        count = batch * args.length

        def line(who, seconds, note=""):
            rate = count / seconds
            share = 100 * rate * flops_per_token / best
            print(f"R1 batch {batch} x {args.length}: {who}: {1e3 * seconds:.1f} ms, {rate:.0f} tokens/s, {share:.1f} % of the ceiling{note}",
                  flush=True)

        forms = [("PyTorch eager", False, False), ("PyTorch eager, gradients in fp32", False, True)]
        if args.compile:
            forms += [("PyTorch compiled", True, False), ("PyTorch compiled, gradients in fp32", True, True)]
        for who, compiled, main_gradients in forms:
            try:
                seconds, gigabytes = peer_seconds(batch, args.length, compiled, main_gradients)
                line(who, seconds, f", {gigabytes:.1f} GiB")
            except torch.cuda.OutOfMemoryError:
                print(f"R1 batch {batch} x {args.length}: {who}: out of memory", flush=True)
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        for mode in ("keep", "recompute"):
            done = subprocess.run([args.bench, args.model, str(batch), str(args.length), mode], capture_output=True, text=True)
            if done.returncode == 0:
                for said in done.stdout.splitlines():
                    if said.startswith("R1"):
                        how = "CUDA graph" if "CUDA graph" in said else "kernel by kernel"
                        line(f"conclave, {mode}, {how}", float(said.split(" ms,")[0].split()[-1]) / 1e3)
                    elif said.startswith("no CUDA graph"):
                        print(said, flush=True)
            else:
                print(f"R1 batch {batch} x {args.length}: conclave, {mode}: {(done.stderr or done.stdout).strip().splitlines()[-1:]}", flush=True)


if __name__ == "__main__":
    main()
