#!/usr/bin/env python3
"""What PyTorch does with the shapes of the GPU benchmarks: the peers in the table of tools/bench/gpu.

    gpu_peers.py PART... [--batch 8 2] [--compile] [--gradients-in-fp32] [--repeat 10]

step  forward and backward of shape r1 as a PyTorch user would write it: F.linear, F.scaled_dot_product_attention,
      torch._grouped_mm over tokens sorted by expert with gate and up in one product, F.cross_entropy on all logits; bf16 weights
      and gradients. --gradients-in-fp32: once more with each gradient copied to an fp32 one as soon as it is there, as Conclave
      keeps them.
moe   router and experts of one layer as torchtitan has them: argsort, gather, a grouped product each for gate, up and down,
      silu and product between them, scatter_add.
loss  F.linear and F.cross_entropy on all logits, T=8192 D=2048 V=102400.

--compile: also through torch.compile (the layers of a step, the layer, the loss). Medians of --repeat after 3.
"""
import argparse
import importlib.util
import json
import pathlib
import statistics
import sys
import time

import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).parent


def figure(name, value, unit, n):
    print(f"figure {name} = {value:.6g} {unit} (n={n})", flush=True)


class Clock:
    def __init__(self, device, repeat):
        self.gpu, self.repeat = device == "cuda", repeat

    def wait(self):
        if self.gpu:
            torch.cuda.synchronize()

    def median_seconds(self, body):
        seconds = []
        for i in range(self.repeat + 3):
            self.wait()
            begin = time.perf_counter()
            body()
            self.wait()
            if i >= 3:
                seconds.append(time.perf_counter() - begin)
        return statistics.median(seconds)

    def peak_bytes(self):
        return torch.cuda.max_memory_allocated() if self.gpu else 0

    def forget(self):
        if self.gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def weight(*size, device):
    return torch.nn.Parameter(torch.randn(*size, device=device, dtype=torch.bfloat16) * 0.02)


class Layer(torch.nn.Module):
    def __init__(self, model, device):
        super().__init__()
        m = self.m = model
        ones = lambda: torch.nn.Parameter(torch.ones(m["width"], device=device, dtype=torch.bfloat16))
        self.norm1, self.norm2 = ones(), ones()
        self.qkv = weight((m["heads"] + 2 * m["kv_heads"]) * m["head_width"], m["width"], device=device)
        self.o = weight(m["width"], m["heads"] * m["head_width"], device=device)
        self.router = weight(m["experts"], m["width"], device=device)
        self.gate_up = weight(m["experts"], m["width"], 2 * m["expert_width"], device=device)
        self.down = weight(m["experts"], m["expert_width"], m["width"], device=device)

    def rotate(self, x, cos, sin):
        low, high = x.chunk(2, -1)
        return torch.cat([low * cos - high * sin, high * cos + low * sin], -1)

    def experts(self, x):
        experts, top_k = self.m["experts"], self.m["top_k"]
        scores, chosen = F.linear(x, self.router).float().softmax(-1).topk(top_k, -1)
        scores = scores / scores.sum(-1, keepdim=True)
        order = chosen.flatten().argsort(stable=True)
        ends = torch.bincount(chosen.flatten(), minlength=experts).cumsum(0).to(torch.int32)
        token = order // top_k
        gate, up = torch._grouped_mm(x[token], self.gate_up, offs=ends).chunk(2, -1)
        out = torch._grouped_mm(F.silu(gate) * up, self.down, offs=ends)
        weighted = out * scores.flatten()[order, None].to(out.dtype)
        return torch.zeros_like(x).index_add(0, token, weighted)

    def forward(self, x, cos, sin):
        m, (b, s, width) = self.m, x.shape
        h = F.rms_norm(x, (width,), self.norm1, 1e-6)
        sizes = [m["heads"] * m["head_width"]] + [m["kv_heads"] * m["head_width"]] * 2
        q, k, v = (p.view(b, s, -1, m["head_width"]).transpose(1, 2) for p in F.linear(h, self.qkv).split(sizes, -1))
        y = F.scaled_dot_product_attention(self.rotate(q, cos, sin), self.rotate(k, cos, sin), v, is_causal=True, enable_gqa=True)
        x = x + F.linear(y.transpose(1, 2).reshape(b, s, -1), self.o)
        h = F.rms_norm(x, (width,), self.norm2, 1e-6)
        return x + self.experts(h.view(b * s, width)).view(b, s, width)


def measure_step(clock, shape, device, compiled, wide_gradients):
    """Seconds of a forward and backward pass, and bytes at its peak."""
    torch.manual_seed(0)
    model, batch, length, vocabulary = shape["model"], shape["batch"], shape["length"], shape["vocabulary"]
    width, head_width = model["width"], model["head_width"]
    layers = torch.nn.ModuleList(Layer(model, device) for _ in range(model["layers"]))
    table, head = (weight(vocabulary, width, device=device) for _ in range(2))
    norm = torch.nn.Parameter(torch.ones(width, device=device, dtype=torch.bfloat16))
    angles = torch.outer(torch.arange(length, device=device), 10000.0 ** (-torch.arange(0, head_width, 2, device=device) / head_width))
    cos, sin = angles.cos().bfloat16(), angles.sin().bfloat16()
    tokens, labels = (torch.randint(vocabulary, (batch, length), device=device) for _ in range(2))
    parameters = [*layers.parameters(), table, head, norm]
    run = [torch.compile(layer) for layer in layers] if compiled else layers

    def widen(p):
        p.main_grad.copy_(p.grad)
        p.grad = None

    if wide_gradients:
        for p in parameters:
            p.main_grad = torch.zeros_like(p, dtype=torch.float32)
            p.register_post_accumulate_grad_hook(widen)

    def step():
        for p in parameters:
            p.grad = None
        x = F.embedding(tokens, table)
        for layer in run:
            x = layer(x, cos, sin)
        logits = F.linear(F.rms_norm(x, (width,), norm, 1e-6), head)
        F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten()).backward()

    return clock.median_seconds(step), clock.peak_bytes()


class TitanMoe(torch.nn.Module):
    def __init__(self, model, device):
        super().__init__()
        self.top_k, (e, d, f) = model["top_k"], (model[k] for k in ("experts", "width", "expert_width"))
        self.router = weight(e, d, device=device)
        self.gate, self.up, self.down = weight(e, f, d, device=device), weight(e, f, d, device=device), weight(e, d, f, device=device)

    def forward(self, x):
        experts = self.router.shape[0]
        scores, chosen = F.linear(x, self.router).float().softmax(-1).topk(self.top_k, -1)
        scores = scores / scores.sum(-1, keepdim=True)
        ends = torch.bincount(chosen.flatten(), minlength=experts).cumsum(0).to(torch.int32)
        order = chosen.flatten().argsort(stable=True)
        token = (order // self.top_k)[:, None].expand(-1, x.shape[1])
        rows = x.gather(0, token)
        h = F.silu(torch._grouped_mm(rows, self.gate.transpose(1, 2), offs=ends))
        h = h * torch._grouped_mm(rows, self.up.transpose(1, 2), offs=ends)
        out = torch._grouped_mm(h, self.down.transpose(1, 2), offs=ends)
        out = (out.float() * scores.flatten()[order, None]).to(x.dtype)
        return torch.zeros_like(x).scatter_add(0, token, out)


def measure_moe(clock, shape, device, compiled):
    torch.manual_seed(0)
    layer = TitanMoe(shape["model"], device)
    run = torch.compile(layer) if compiled else layer
    x = torch.randn(shape["batch"] * shape["length"], shape["model"]["width"], device=device, dtype=torch.bfloat16, requires_grad=True)
    dy = torch.randn_like(x)

    def step():
        x.grad = None
        for p in layer.parameters():
            p.grad = None
        run(x).backward(dy)

    return clock.median_seconds(step)


def measure_loss(clock, sizes, device, compiled):
    """Seconds, and bytes at the peak beside hidden and head."""
    tokens, width, vocabulary = sizes
    hidden, head = (torch.randn(n, width, device=device, dtype=torch.bfloat16, requires_grad=True) for n in (tokens, vocabulary))
    labels = torch.randint(vocabulary, (tokens,), device=device)
    whole = lambda h, w: F.cross_entropy(F.linear(h, w).float(), labels)
    run = torch.compile(whole) if compiled else whole
    clock.forget()
    before = clock.peak_bytes()

    def step():
        hidden.grad = head.grad = None
        run(hidden, head).backward()

    return clock.median_seconds(step), clock.peak_bytes() - before


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=["step", "moe", "loss"])
    parser.add_argument("--shapes", type=pathlib.Path, default=HERE / "gpu_shapes.json")
    parser.add_argument("--shape", default="r1")
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 2], help="of a step")
    parser.add_argument("--loss", type=int, nargs=3, default=[8192, 2048, 102400], metavar=("T", "D", "V"))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--gradients-in-fp32", action="store_true")
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: to see that it runs")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("PyTorch sees no GPU", file=sys.stderr)
        return 3
    shape = json.loads(args.shapes.read_text())[args.shape]
    clock, failed = Clock(args.device, args.repeat), False
    forms = [("eager", False)]
    if args.compile and importlib.util.find_spec("triton"):
        forms.append(("compiled", True))
    elif args.compile:
        print("note no triton here: the peers are not compiled", flush=True)

    def attempt(name, body):
        nonlocal failed
        try:
            body(name)
        except Exception as e:  # the other figures go on
            failed = True
            print(f"{name}: {str(e).splitlines()[0] if str(e) else type(e).__name__}", file=sys.stderr, flush=True)
        torch._dynamo.reset()
        clock.forget()

    def step(name, batch, compiled, wide):
        seconds, peak = measure_step(clock, {**shape, "batch": batch}, args.device, compiled, wide)
        figure(name, batch * shape["length"] / seconds, "tokens/s", args.repeat)
        figure(f"{name}.peak", peak / 2**30, "GiB", 1)

    def loss(name, compiled):
        seconds, peak = measure_loss(clock, args.loss, args.device, compiled)
        figure(name, 1e3 * seconds, "ms", args.repeat)
        figure(f"{name}.peak", peak / 2**30, "GiB", 1)

    for form, compiled in forms:
        if "step" in args.parts:
            for batch in args.batch:
                attempt(f"step.b{batch}.{form}", lambda name: step(name, batch, compiled, False))
                if args.gradients_in_fp32:
                    attempt(f"step.b{batch}.{form}_fp32", lambda name: step(name, batch, compiled, True))
        if "moe" in args.parts:
            attempt(f"moe.{form}", lambda name: figure(name, 1e3 * measure_moe(clock, shape, args.device, compiled), "ms", args.repeat))
        if "loss" in args.parts:
            attempt(f"loss.{form}", lambda name: loss(name, compiled))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
