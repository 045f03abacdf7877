#!/usr/bin/env python3
"""Writes adamw.json: 100 steps of torch.optim.AdamW on two parameter groups, in fp32 and fp64.

    PYTHONPATH=.deps/oracles python3 tests/golden/optimizer/make_reference.py

The gradients are an exact integer formula that the C++ test repeats, so only results are stored. Hexadecimal floats keep
every bit. Needs PyTorch (tools/bootstrap --oracles); the tests themselves need no Python.
"""
import json
import pathlib

import torch

SIZE = 37  # no multiple of a vector's width
STEPS = 100
KEEP = (1, 2, 10, 100)
SETTINGS = {"lr": 1e-3, "betas": [0.9, 0.98], "eps": 1e-6, "weight_decay": 0.1}


def numerator(i: int, step: int) -> int:
    return (i * 7919 + step * 104729) % 2003 - 1001


def gradient(offset: int, step: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor([numerator(i + offset, step) / 1001.0 for i in range(SIZE)], dtype=torch.float64).to(dtype)


def main() -> None:
    runs = {}
    for name, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        groups = [gradient(offset, 0, dtype).requires_grad_() for offset in (0, 1000)]
        optimizer = torch.optim.AdamW(
            [{"params": [groups[0]]}, {"params": [groups[1]], "weight_decay": 0.0}],
            lr=SETTINGS["lr"], betas=tuple(SETTINGS["betas"]), eps=SETTINGS["eps"],
            weight_decay=SETTINGS["weight_decay"], foreach=False, fused=False)
        kept = {}
        for step in range(1, STEPS + 1):
            for group, offset in zip(groups, (0, 1000)):
                group.grad = gradient(offset, step, dtype)
            optimizer.step()
            if step in KEEP:
                kept[str(step)] = [[float(x).hex() for x in group.detach()] for group in groups]
        runs[name] = kept
    out = {"torch": torch.__version__, "size": SIZE, "settings": SETTINGS, "parameters": runs}
    path = pathlib.Path(__file__).with_name("adamw.json")
    path.write_text(json.dumps(out, indent=1) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
