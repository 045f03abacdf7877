#!/usr/bin/env python3
"""CPU training step: bench_cpu_step against the same model in eager PyTorch, fp32, run alternately in one session.

    cmake --build build --target bench_cpu_step
    PYTHONPATH=.deps/oracles python3 tools/bench/cpu_step_pytorch.py build/bin/bench_cpu_step build/plugins/model-moe-transformer.so \
        build/plugins/optimizer-adamw.so [--rounds 5] [--steps 3]

The peer is what a PyTorch user would write: F.linear, F.scaled_dot_product_attention, index_add over a loop of experts,
F.cross_entropy, clip_grad_norm_, fused AdamW. One line a figure; medians over all steps of all rounds.
"""
import argparse
import json
import math
import pathlib
import statistics
import subprocess
import time

import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).parent


class Peer:
    def __init__(self, shape: dict):
        self.m, self.t = shape["model"], shape["train"]
        m, width = self.m, self.m["width"]
        self.head = width // m["heads"]
        rows = (m["heads"] + 2 * m["kv_heads"]) * self.head
        normal = lambda *size: (torch.randn(*size) * m["init_std"]).requires_grad_()
        self.decayed = [normal(self.t["vocabulary"], width), normal(self.t["vocabulary"], width)]
        self.plain = [torch.ones(width, requires_grad=True)]
        self.layers = []
        for _ in range(m["layers"]):
            layer = {"qkv": normal(rows, width), "o": normal(width, m["heads"] * self.head), "gate_w": normal(m["heads"], width),
                     "router": normal(m["experts"], width), "gate_up": normal(m["experts"], 2 * m["expert_width"], width),
                     "down": normal(m["experts"], width, m["expert_width"])}
            norms = {"norm1": torch.ones(width, requires_grad=True), "norm2": torch.ones(width, requires_grad=True),
                     "gate_b": torch.zeros(m["heads"], requires_grad=True)}
            self.decayed += layer.values()
            self.plain += norms.values()
            self.layers.append({**layer, **norms})
        length = self.t["length"]
        angles = torch.outer(torch.arange(length), 10000.0 ** (-torch.arange(0, self.head, 2) / self.head))
        self.cos, self.sin = angles.cos()[None, None], angles.sin()[None, None]
        distance = torch.arange(length)[:, None] - torch.arange(length)
        self.window = (distance >= 0) & (distance < m["hierarchy"]["window"])
        a = shape["adamw"]
        self.optimizer = torch.optim.AdamW([{"params": self.decayed}, {"params": self.plain, "weight_decay": 0.0}], lr=a["lr"],
                                           betas=tuple(a["betas"]), eps=a["eps"], weight_decay=a["weight_decay"], fused=True)

    def norm(self, x, w):
        return F.rms_norm(x, (x.shape[-1],), w, 1e-6)

    def rotate(self, x):
        low, high = x.chunk(2, -1)
        return torch.cat([low * self.cos - high * self.sin, high * self.cos + low * self.sin], -1)

    def block(self, x, w, local):
        m, (b, s, width) = self.m, x.shape
        h = self.norm(x, w["norm1"])
        sizes = [m["heads"] * self.head] + [m["kv_heads"] * self.head] * 2
        q, k, v = (part.view(b, s, -1, self.head).transpose(1, 2) for part in F.linear(h, w["qkv"]).split(sizes, -1))
        mask = {"attn_mask": self.window} if local else {"is_causal": True}
        y = F.scaled_dot_product_attention(self.rotate(q), self.rotate(k), v, enable_gqa=True, **mask).transpose(1, 2)
        y = y * (2 * torch.sigmoid(F.linear(h, w["gate_w"], w["gate_b"]))).unsqueeze(-1)
        x = x + F.linear(y.reshape(b, s, -1), w["o"])
        flat = self.norm(x, w["norm2"]).view(b * s, width)
        logits = F.linear(flat, w["router"])
        scores = logits.softmax(-1)
        top, chosen = scores.topk(m["top_k"], -1)
        top = top / top.sum(-1, keepdim=True)
        out = torch.zeros_like(flat)
        for e in range(m["experts"]):
            token, choice = (chosen == e).nonzero(as_tuple=True)
            gate, up = F.linear(flat[token], w["gate_up"][e]).chunk(2, -1)
            out = out.index_add(0, token, F.linear(F.silu(gate) * up, w["down"][e]) * top[token, choice, None])
        hits = F.one_hot(chosen, m["experts"]).sum(1).view(b, s, -1).sum(1).to(x.dtype)
        balance = (hits * scores.view(b, s, -1).sum(1)).sum() * m["experts"] / m["top_k"] / s**2
        return x + out.view(b, s, width), balance, torch.logsumexp(logits, -1).square().sum()

    def step(self, tokens, labels):
        rows, micro = self.t["rows"], self.t["micro_rows"]
        count = tokens.numel()
        self.optimizer.zero_grad()
        for first in range(0, rows, micro):
            x = F.embedding(tokens[first:first + micro], self.decayed[0])
            balance = z = 0.0
            for i, w in enumerate(self.layers):
                x, layer_balance, layer_z = self.block(x, w, i < self.m["hierarchy"]["local_layers"])
                balance, z = balance + layer_balance, z + layer_z
            logits = F.linear(self.norm(x, self.plain[0]), self.decayed[1]).flatten(0, 1)
            cross = F.cross_entropy(logits, labels[first:first + micro].flatten(), reduction="sum",
                                    label_smoothing=self.t["label_smoothing"])
            r = self.m["router"]
            (cross / count + r["balance_loss"] * balance / rows + r["z_loss"] * z / count).backward()
        torch.nn.utils.clip_grad_norm_(self.decayed + self.plain, self.t["clip"])
        self.optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ours", help="the built bench_cpu_step")
    parser.add_argument("model", help="model-moe-transformer.so")
    parser.add_argument("optimizer", help="optimizer-adamw.so")
    parser.add_argument("--shape", default=str(HERE / "cpu_step.json"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    shape = json.loads(pathlib.Path(args.shape).read_text())
    torch.manual_seed(0)
    peer, t = Peer(shape), shape["train"]
    tokens, labels = (torch.randint(t["vocabulary"], (t["rows"], t["length"])) for _ in range(2))
    peer.step(tokens, labels)
    ours, theirs = [], []
    for _ in range(args.rounds):
        run = subprocess.run([args.ours, args.model, args.optimizer, args.shape, str(args.steps), str(args.threads)], check=True,
                             capture_output=True, text=True)
        ours += map(float, run.stdout.split())
        for _ in range(args.steps):
            begin = time.perf_counter()
            peer.step(tokens, labels)
            theirs.append(time.perf_counter() - begin)
    a, b, count = statistics.median(ours), statistics.median(theirs), t["rows"] * t["length"]
    parameters = sum(math.prod(p.shape) for p in peer.decayed + peer.plain)
    print(f"shape: {parameters / 1e6:.1f} M parameters, {count} tokens a step, {args.threads} threads, torch {torch.__version__}")
    print(f"figure ours = {1e3 * a:.6g} ms (n={len(ours)})")
    print(f"figure pytorch = {1e3 * b:.6g} ms (n={len(theirs)})")
    print(f"Conclave takes {a / b:.3f} of PyTorch's time: {count / a:.0f} tokens/s and {count / b:.0f}")


if __name__ == "__main__":
    main()
