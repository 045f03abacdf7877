#!/usr/bin/env python3
"""Writes curve.json: 200 training steps of a small MoE transformer in plain PyTorch, in fp64 and in fp32.

    PYTHONPATH=.deps/oracles python3 tests/golden/curve/make_reference.py

An independent statement of what a Conclave run computes, for curve_test.cpp: the model (hierarchical attention with head
gates, QK norm, rotary embedding, a dense and two MoE layers with a shared expert, router losses and selection bias), label
smoothing, z-loss, the initial weights (Philox4x32-10 by global name and index), AdamW with decay classes, gradient clipping
and warm-up + cosine. It works on whole batches with autograd, one tensor a named parameter; nothing is fused.

tokens.txt beside it holds the token stream; --tokens writes that file anew. Needs PyTorch and numpy.
"""
import argparse
import json
import math
import pathlib

import numpy as np
import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).parent
MODEL = {"layers": 3, "width": 32, "heads": 4, "kv_heads": 2, "head_width": 8, "experts": 8, "top_k": 2, "expert_width": 24,
         "shared_experts": 1, "dense_layers": 1, "dense_width": 48, "qk_norm": True, "rope_theta": 10000.0, "norm_eps": 1e-6,
         "router": {"balance_loss": 0.01, "z_loss": 0.001, "bias_update_rate": 0.001},
         "hierarchy": {"local_layers": 1, "window": 5, "head_gates": True}, "init_std": 0.1}
TRAIN = {"seed": 1234, "steps": 200, "vocabulary": 64, "length": 16, "rows": 4, "micro_rows": 2, "label_smoothing": 0.1,
         "z_loss": 1e-4, "clip": 1.0}
ADAMW = {"lr": 3e-3, "betas": [0.9, 0.98], "eps": 1e-6, "weight_decay": 0.1}
SCHEDULE = {"warmup": 10, "min_ratio": 0.1}


# ---- tokens and batches ----

def write_tokens(path: pathlib.Path) -> None:
    """A stream with something to learn: each token mostly follows from the two before it."""
    state, tokens = 12345, [3, 14]
    for _ in range(2998):
        state = (state * 1103515245 + 12345) % 2**31
        noise = (state >> 16) % 7
        previous = (tokens[-1] * 5 + tokens[-2] * 3 + 1) % 64
        tokens.append((state >> 8) % 64 if noise == 0 else previous)
    lines = (" ".join(map(str, tokens[i:i + 30])) for i in range(0, len(tokens), 30))
    path.write_text("\n".join(lines) + "\n")


def batch(stream: np.ndarray, step: int):
    """Row r of step s starts at (s * rows + r) * 13; every fourth row ends three tokens early (padding)."""
    rows, length = TRAIN["rows"], TRAIN["length"]
    tokens = np.zeros((rows, length), dtype=np.int64)
    labels, real = np.zeros_like(tokens), np.ones((rows, length), dtype=bool)
    for r in range(rows):
        start = (step * rows + r) * 13 % (len(stream) - length - 1)
        n = length - 3 if r % 4 == 3 else length
        tokens[r, :n] = stream[start:start + n]
        labels[r, :n] = stream[start + 1:start + n + 1]
        real[r, n:] = False
    return torch.from_numpy(tokens), torch.from_numpy(labels), torch.from_numpy(real)


# ---- initial weights ----

def hash_name(seed: int, name: str, salt: int) -> int:
    mask = 2**64 - 1
    h = 0xcbf29ce484222325 ^ salt
    for byte in seed.to_bytes(8, "little") + name.encode():
        h = (h ^ byte) * 0x100000001b3 & mask
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9 & mask
    h = (h ^ (h >> 27)) * 0x94d049bb133111eb & mask
    return h ^ (h >> 31)


def philox(counter: np.ndarray, stream: int, key: int) -> list:
    low = np.uint64(0xFFFFFFFF)
    c = [counter & low, counter >> np.uint64(32), np.full_like(counter, stream & 0xFFFFFFFF), np.full_like(counter, stream >> 32)]
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(b >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), b & low, (a >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), a & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


def normal(seed: int, name: str, shape) -> np.ndarray:
    n = np.arange(int(np.prod(shape)), dtype=np.uint64)
    words = philox(n // np.uint64(2), hash_name(seed, name, 0x5bf03635dcd1f0a5), hash_name(seed, name, 0))

    def unit(high, low):
        return (((high << np.uint64(32)) | low) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    radius = np.sqrt(-2.0 * np.log(1.0 - unit(words[0], words[1])))
    angle = 2.0 * np.pi * unit(words[2], words[3])
    return (radius * np.where(n % np.uint64(2) == 0, np.cos(angle), np.sin(angle))).reshape(shape)


def parameter_specs() -> dict:
    """name -> (shape, kind, decayed)."""
    m, specs = MODEL, {}
    width, head = m["width"], m["head_width"]
    specs["model.embed_tokens.weight"] = ((TRAIN["vocabulary"], width), "inner", True)
    for layer in range(m["layers"]):
        p = f"model.layers.{layer}"
        specs[f"{p}.input_layernorm.weight"] = ((width,), "one", False)
        specs[f"{p}.post_attention_layernorm.weight"] = ((width,), "one", False)
        a = f"{p}.self_attn"
        specs[f"{a}.q_proj.weight"] = ((m["heads"] * head, width), "inner", True)
        specs[f"{a}.k_proj.weight"] = ((m["kv_heads"] * head, width), "inner", True)
        specs[f"{a}.v_proj.weight"] = ((m["kv_heads"] * head, width), "inner", True)
        specs[f"{a}.q_norm.weight"] = ((head,), "one", False)
        specs[f"{a}.k_norm.weight"] = ((head,), "one", False)
        specs[f"{a}.head_gate.weight"] = ((m["heads"], width), "zero", True)
        specs[f"{a}.head_gate.bias"] = ((m["heads"],), "zero", False)
        specs[f"{a}.o_proj.weight"] = ((width, m["heads"] * head), "residual", True)
        if layer < m["dense_layers"]:
            blocks = {f"{p}.mlp": m["dense_width"]}
        else:
            specs[f"{p}.mlp.gate.weight"] = ((m["experts"], width), "inner", True)
            blocks = {f"{p}.mlp.experts.{e}": m["expert_width"] for e in range(m["experts"])}
            blocks[f"{p}.mlp.shared_experts"] = m["shared_experts"] * m["expert_width"]
        for block, hidden in blocks.items():
            specs[f"{block}.gate_proj.weight"] = ((hidden, width), "inner", True)
            specs[f"{block}.up_proj.weight"] = ((hidden, width), "inner", True)
            specs[f"{block}.down_proj.weight"] = ((width, hidden), "residual", True)
    specs["model.norm.weight"] = ((width,), "one", False)
    specs["lm_head.weight"] = ((TRAIN["vocabulary"], width), "inner", True)
    return specs


def initial(dtype: torch.dtype) -> dict:
    scale = {"inner": MODEL["init_std"], "residual": MODEL["init_std"] / math.sqrt(2 * MODEL["layers"])}
    out = {}
    for name, (shape, kind, _) in parameter_specs().items():
        if kind in scale:
            value = scale[kind] * normal(TRAIN["seed"], name, shape)
        else:
            value = np.full(shape, 1.0 if kind == "one" else 0.0)
        out[name] = torch.from_numpy(value).to(dtype).requires_grad_()
    return out


# ---- the model ----

class Model:
    def __init__(self, weights: dict, dtype: torch.dtype):
        self.w, self.dtype = weights, dtype
        self.bias = {i: torch.zeros(MODEL["experts"]) for i in range(MODEL["dense_layers"], MODEL["layers"])}
        self.loads = {}
        length, head = TRAIN["length"], MODEL["head_width"]
        inverse = MODEL["rope_theta"] ** (-torch.arange(0, head, 2, dtype=torch.float64) / head)
        angles = torch.outer(torch.arange(length, dtype=torch.float64), inverse)
        self.cos, self.sin = angles.cos().to(dtype), angles.sin().to(dtype)
        distance = torch.arange(length).unsqueeze(1) - torch.arange(length)
        self.whole = distance >= 0
        self.local = self.whole & (distance < MODEL["hierarchy"]["window"])

    def norm(self, x, name):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + MODEL["norm_eps"]) * self.w[name]

    def rotate(self, x):  # [B, S, H, D]
        low, high = x.chunk(2, dim=-1)
        cos, sin = self.cos[None, :, None], self.sin[None, :, None]
        return torch.cat([low * cos - high * sin, high * cos + low * sin], dim=-1)

    def attention(self, x, layer):
        p, m = f"model.layers.{layer}.self_attn", MODEL
        b, s, _ = x.shape
        split = lambda name, heads: F.linear(x, self.w[f"{p}.{name}.weight"]).view(b, s, heads, m["head_width"])
        q = self.rotate(self.norm(split("q_proj", m["heads"]), f"{p}.q_norm.weight"))
        k = self.rotate(self.norm(split("k_proj", m["kv_heads"]), f"{p}.k_norm.weight"))
        v = split("v_proj", m["kv_heads"])
        repeat = m["heads"] // m["kv_heads"]
        k, v = k.repeat_interleave(repeat, dim=2), v.repeat_interleave(repeat, dim=2)
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(m["head_width"])
        mask = self.local if layer < m["hierarchy"]["local_layers"] else self.whole
        p_attention = scores.masked_fill(~mask, -math.inf).softmax(-1)
        y = torch.einsum("bhqk,bkhd->bqhd", p_attention, v)
        gate = F.linear(x, self.w[f"{p}.head_gate.weight"], self.w[f"{p}.head_gate.bias"])
        y = y * (2 * torch.sigmoid(gate)).unsqueeze(-1)
        return F.linear(y.reshape(b, s, -1), self.w[f"{p}.o_proj.weight"])

    def swiglu(self, x, p):
        w = self.w
        hidden = F.silu(F.linear(x, w[f"{p}.gate_proj.weight"])) * F.linear(x, w[f"{p}.up_proj.weight"])
        return F.linear(hidden, w[f"{p}.down_proj.weight"])

    def experts(self, x, layer, real):
        p, m = f"model.layers.{layer}.mlp", MODEL
        b, s, width = x.shape
        flat = x.reshape(b * s, width)
        logits = F.linear(flat, self.w[f"{p}.gate.weight"])
        scores = logits.softmax(-1)
        chosen = (scores.detach() + self.bias[layer]).topk(m["top_k"], dim=-1).indices
        weights = scores.gather(1, chosen)
        weights = weights / weights.sum(-1, keepdim=True)
        y = self.swiglu(flat, f"{p}.shared_experts")
        for e in range(m["experts"]):
            token, choice = (chosen == e).nonzero(as_tuple=True)
            part = self.swiglu(flat[token], f"{p}.experts.{e}") * weights[token, choice].unsqueeze(-1)
            y = y.index_add(0, token, part)
        hits = F.one_hot(chosen, m["experts"]).sum(1).to(self.dtype) * real.reshape(-1, 1)
        self.loads[layer] = hits.sum(0).to(torch.int64)
        n = real.sum(1).to(self.dtype)
        load = hits.view(b, s, -1).sum(1)
        mass = (scores * real.reshape(-1, 1)).view(b, s, -1).sum(1)
        balance = ((load * mass).sum(1) / n.square()).sum() * m["experts"] / m["top_k"]
        z = (torch.logsumexp(logits, -1).square() * real.reshape(-1)).sum()
        return y.view(b, s, width), balance, z

    def losses(self, tokens, labels, real):
        x = self.w["model.embed_tokens.weight"][tokens]
        balance = z = torch.zeros((), dtype=self.dtype)
        for layer in range(MODEL["layers"]):
            p = f"model.layers.{layer}"
            x = x + self.attention(self.norm(x, f"{p}.input_layernorm.weight"), layer)
            h = self.norm(x, f"{p}.post_attention_layernorm.weight")
            if layer < MODEL["dense_layers"]:
                x = x + self.swiglu(h, f"{p}.mlp")
            else:
                y, layer_balance, layer_z = self.experts(h, layer, real)
                x, balance, z = x + y, balance + layer_balance, z + layer_z
        logits = F.linear(self.norm(x, "model.norm.weight"), self.w["lm_head.weight"])[real]
        smooth = F.cross_entropy(logits, labels[real], label_smoothing=TRAIN["label_smoothing"], reduction="sum")
        cross = smooth + TRAIN["z_loss"] * torch.logsumexp(logits, -1).square().sum()
        nll = F.cross_entropy(logits.detach(), labels[real], reduction="sum")
        return cross, balance, z, nll

    def update_bias(self):
        for layer, counts in self.loads.items():
            direction = torch.sign(counts.sum() - counts * MODEL["experts"]).float()
            self.bias[layer].add_(direction, alpha=MODEL["router"]["bias_update_rate"])


def learning_rate(step: int) -> float:
    warmup, ratio = SCHEDULE["warmup"], SCHEDULE["min_ratio"]
    if step < warmup:
        return ADAMW["lr"] * (step + 1) / warmup
    progress = (step - warmup) / (TRAIN["steps"] - warmup)
    return ADAMW["lr"] * (ratio + (1 - ratio) * 0.5 * (1 + math.cos(math.pi * progress)))


def train(stream: np.ndarray, dtype: torch.dtype) -> dict:
    weights, specs = initial(dtype), parameter_specs()
    model = Model(weights, dtype)
    optimizer = torch.optim.AdamW(
        [{"params": [w for n, w in weights.items() if specs[n][2]]},
         {"params": [w for n, w in weights.items() if not specs[n][2]], "weight_decay": 0.0}],
        lr=ADAMW["lr"], betas=tuple(ADAMW["betas"]), eps=ADAMW["eps"], weight_decay=ADAMW["weight_decay"], foreach=False)
    out = {"loss": [], "nll": [], "grad_norm": [], "loads": []}
    for step in range(TRAIN["steps"]):
        tokens, labels, real = batch(stream, step)
        count = int(real.sum())
        cross, balance, z, nll = model.losses(tokens, labels, real)
        router = MODEL["router"]
        loss = cross / count + router["balance_loss"] * balance / TRAIN["rows"] + router["z_loss"] * z / count
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(weights.values(), TRAIN["clip"])
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.step()
        model.update_bias()
        out["loss"].append(loss.item())
        out["nll"].append(float(nll) / count)
        out["grad_norm"].append(float(norm))
        out["loads"].append([model.loads[layer].tolist() for layer in sorted(model.loads)])
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", action="store_true", help="write tokens.txt anew")
    if parser.parse_args().tokens:
        write_tokens(HERE / "tokens.txt")
    torch.set_num_threads(1)
    stream = np.array([int(t) for t in (HERE / "tokens.txt").read_text().split()], dtype=np.int64)
    result = {"torch": torch.__version__, "model": MODEL, "train": TRAIN, "adamw": ADAMW, "schedule": SCHEDULE,
              "float64": train(stream, torch.float64), "float32": train(stream, torch.float32)}
    (HERE / "curve.json").write_text(json.dumps(result) + "\n")
    for name in ("float64", "float32"):
        print(name, "first", result[name]["loss"][0], "last", result[name]["loss"][-1])


if __name__ == "__main__":
    main()
