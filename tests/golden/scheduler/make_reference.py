#!/usr/bin/env python3
"""Writes schedules.json: learning rates of 100 steps, composed from PyTorch's own schedulers.

    PYTHONPATH=.deps/oracles python3 tests/golden/scheduler/make_reference.py

Warm-up is a LambdaLR of (step + 1) / warmup, the cosine is CosineAnnealingLR, the linear decay LinearLR, joined by
SequentialLR; the other decay shapes are LambdaLR. Needs PyTorch (tools/bootstrap --oracles).
"""
import json
import math
import pathlib
import warnings

import torch
from torch.optim import lr_scheduler as sched

STEPS = 100
PEAK = 3e-4


def rates(build) -> list:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    scheduler = build(optimizer)
    out = []
    for _ in range(STEPS):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return out


def warmup(optimizer, steps):
    return sched.LambdaLR(optimizer, lambda s: (s + 1) / steps)


def warmup_cosine(steps, ratio):
    def build(optimizer):
        cosine = sched.CosineAnnealingLR(optimizer, T_max=STEPS - steps, eta_min=ratio * PEAK)
        return sched.SequentialLR(optimizer, [warmup(optimizer, steps), cosine], milestones=[steps])
    return build


def wsd(steps, decay, ratio, shape):
    def build(optimizer):
        stable = sched.ConstantLR(optimizer, factor=1.0, total_iters=0)
        if shape == "linear":
            fall = sched.LinearLR(optimizer, start_factor=1.0, end_factor=ratio, total_iters=decay)
        elif shape == "cosine":
            fall = sched.CosineAnnealingLR(optimizer, T_max=decay, eta_min=ratio * PEAK)
        else:
            fall = sched.LambdaLR(optimizer, lambda s: ratio + (1 - ratio) * (1 - math.sqrt(s / decay)))
        return sched.SequentialLR(optimizer, [warmup(optimizer, steps), stable, fall], milestones=[steps, STEPS - decay])
    return build


def constant(steps):
    return lambda optimizer: sched.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / steps))


def main() -> None:
    warnings.simplefilter("ignore")  # SequentialLR's own use of step(epoch)
    cases = [
        {"id": "scheduler/warmup-cosine", "with": {"warmup": "5%", "min_ratio": 0}, "rates": rates(warmup_cosine(5, 0.0))},
        {"id": "scheduler/warmup-cosine", "with": {"warmup": 17, "min_ratio": 0.1}, "rates": rates(warmup_cosine(17, 0.1))},
        {"id": "scheduler/constant", "with": {"warmup": 8}, "rates": rates(constant(8))},
    ]
    for shape in ("linear", "sqrt", "cosine"):
        cases.append({"id": "scheduler/warmup-stable-decay",
                      "with": {"warmup": "10%", "decay": 25, "min_ratio": 0.05, "shape": shape},
                      "rates": rates(wsd(10, 25, 0.05, shape))})
    path = pathlib.Path(__file__).with_name("schedules.json")
    path.write_text(json.dumps({"torch": torch.__version__, "steps": STEPS, "peak": PEAK, "cases": cases}) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
