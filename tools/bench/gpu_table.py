"""The table of tools/bench/gpu: which figures stand in which row, beside what, and what is asked of them.

What this is: arithmetic on figures that were measured, by name; no process is started here. A figure is (value, unit, n). Standard
library only.
"""
import dataclasses
import math
import re
from typing import Callable, NamedTuple


class Figure(NamedTuple):
    value: float
    unit: str
    n: int


FIGURE = re.compile(r"figure (\S+) = (\S+) (.+) \(n=(\d+)\)")


def parse(line):
    """(name, Figure) of a line that a benchmark printed, or None."""
    match = FIGURE.fullmatch(line.strip())
    return match and (match[1], Figure(float(match[2]), match[3], int(match[4])))


@dataclasses.dataclass
class Limit:
    """What is asked: of the ratio to the peer, or of our value; on some GPUs only, by a part of their name."""
    bound: float
    of: str = "ratio"
    gpu: str = ""

    def text(self, low, unit):
        if self.of == "ratio":
            return f">= {self.bound:g}x"
        return f"{'<=' if low else '>='} {show(self.bound, unit)}"

    def met(self, value, ratio, low):
        """None: cannot be said."""
        if self.of == "ratio":
            return None if ratio is None else ratio >= self.bound
        return value <= self.bound if low else value >= self.bound


@dataclasses.dataclass
class Row:
    part: str
    label: str
    ours: Callable          # value from figures by name (a KeyError: not measured)
    unit: str
    peers: list             # (label, value from figures): the first that was measured stands beside ours
    must: list = dataclasses.field(default_factory=list)  # Limits; the first whose GPU it is counts
    aim: list = dataclasses.field(default_factory=list)
    low: bool = False       # less is better; the ratio is the peer's value over ours then
    counted: str = ""       # the figure whose n is shown; by default the one that `ours` names


def value(name):
    return lambda figures: figures[name].value


def row(part, label, ours, unit, peers, must=None, aim=None, low=False):
    """`ours` and the peers' values are names of figures or functions of all of them."""
    of = lambda x: value(x) if isinstance(x, str) else x
    limits = lambda x: [] if x is None else x if isinstance(x, list) else [x]
    return Row(part, label, of(ours), unit, [(name, of(peer)) for name, peer in peers], limits(must), limits(aim), low,
               ours if isinstance(ours, str) else "")


def floor(bound, gpu=""):
    return Limit(bound, "value", gpu)


def achieved(step):
    """TFLOP/s of a step by bench_gpu_step."""
    return lambda f: f[f"{step}.graph"].value * f[f"{step}.flops_per_token"].value / 1e12


def pytorch(name):
    return [("PyTorch compiled", f"peer.{name}.compiled"), ("PyTorch eager", f"peer.{name}.eager")]


TOKENS, WIDTH, VOCABULARY = 8192, 2048, 102400  # of the linear cross entropy
ceiling = [("best matmul", "ceilings.matmul")]
update_bytes = 34  # a parameter: gradient read for the norm, and what AdamW moves (sdk/cuda/adamw.cu)
seconds_of_update_at_best = lambda f: update_bytes * f["train.bf16.parameters"].value / (f["ceilings.copy"].value * 1e12)

ROWS = [
    # What the issue asks of R1 is a multiple of torchtitan, compiled, as it was measured on an H200 and an H100.
    row("step", "R1 batch 8, forward+backward", "step.b8.graph", "tokens/s", pytorch("step.b8"),
        [floor(76e3, "H200"), floor(73e3, "H100")], floor(92e3, "H200")),
    row("step", "R1 batch 8, of the ceiling", achieved("step.b8"), "TFLOP/s", ceiling, None, Limit(0.65)),
    row("step", "R1 batch 8, peak memory", "step.b8.peak", "GiB", [(n, f"{p}.peak") for n, p in pytorch("step.b8")], None, floor(45), low=True),
    row("step", "R1 batch 2, forward+backward", "step.b2.graph", "tokens/s", pytorch("step.b2"),
        [floor(77e3, "H200"), floor(57e3, "H100")], floor(85e3, "H200")),
    row("train", "R1 batch 8 x 4, training step", "train.bf16.rate", "tokens/s", []),
    row("train", "  optimizer + norm, of the step", lambda f: 100 * f["train.bf16.update"].value / f["train.bf16.step"].value, "%",
        [("34 B/parameter at copy speed", lambda f: 1e5 * seconds_of_update_at_best(f) / f["train.bf16.step"].value)],
        floor(3.5), floor(2.5), low=True),
    row("train", "  fp16 with loss scale", "train.fp16.rate", "tokens/s", [("bf16", "train.bf16.rate")], Limit(0.95), Limit(1)),
    # Launching one graph; a step of four micro-batches launches six, and the host then waits in the driver's queue for the GPU.
    row("step", "  host time, one micro-batch", "step.b8.graph.host", "ms", [], floor(0.3), low=True),
    row("train", "  host time of four, with waiting", "train.bf16.host", "ms", [], low=True),
    row("step", "  host time, kernel by kernel", "step.b8.eager.host", "ms", [], low=True),
]
for product in ("forward", "dgrad", "wgrad"):
    name = f"grouped.balanced.bf16.{product}"
    ROWS += [
        row("grouped", f"grouped {product}", f"{name}.taken", "TFLOP/s", [("LibTorch", f"{name}.libtorch")], Limit(1)),
        row("grouped", f"grouped {product}", f"{name}.taken", "TFLOP/s", [("cuBLAS dense", f"grouped.dense.bf16.{product}")], None, Limit(0.95)),
        row("grouped", f"grouped {product}, skewed 8x", f"grouped.skewed.bf16.{product}.taken", "TFLOP/s",
            [("balanced", f"{name}.taken")], Limit(0.85), Limit(0.9)),
    ]
ROWS += [
    row("layer", "MoE layer, forward+backward", "layer.moe", "ms", [("torchtitan's path", "peer.moe.eager")], Limit(1.3), Limit(1.6), low=True),
    # Nothing is asked beside it: the products alone, at what a dense one reaches, are most of the layer.
    row("layer", "MoE layer, forward+backward", "layer.moe", "ms", [("torchtitan's path, compiled", "peer.moe.compiled")], low=True),
    row("layer", "linear cross entropy", "layer.loss", "ms",
        [("its products at the ceiling", lambda f: 6e3 * TOKENS * WIDTH * VOCABULARY / (f["ceilings.matmul"].value * 1e12))],
        floor(24), floor(20), low=True),
    row("layer", "linear cross entropy", "layer.loss", "ms", pytorch("loss"), low=True),
    # A T x V tensor of bf16 beside the head's fp32 gradient, which there is in any case.
    row("layer", "linear cross entropy, more memory", "layer.loss.peak", "GiB",
        [("with a T x V tensor", lambda f: (2 * TOKENS + 4 * WIDTH) * VOCABULARY / 2**30)], Limit(1), low=True),
]
asked = {"rms_norm_residual_backward", "rotary_qk_norm", "rotary_qk_norm_backward", "permute", "combine", "adamw"}
for name in ("rms_norm", "rms_norm_residual_backward", "rotary_qk_norm", "rotary_qk_norm_backward", "permute", "combine", "swiglu",
             "swiglu_backward", "head_gate", "head_gate_backward", "cross_entropy", "adamw"):
    ROWS.append(row("ops", name.replace("_", " "), f"ops.{name}", "TB/s", [("copy", "ceilings.copy")],
                    Limit(0.8) if name in asked else None, Limit(0.9) if name in asked else None))
ROWS += [
    # R1's 76k tokens/s are 55 % of an H200's ceiling.
    row("experts", "64 experts top-6, one shared", achieved("experts.64"), "TFLOP/s", ceiling, Limit(0.55), Limit(0.65)),
    row("experts", "128 experts top-8", achieved("experts.128"), "TFLOP/s", ceiling, Limit(0.55), Limit(0.65)),
    row("buckets", "buckets of 512-2048", "buckets.bucketed", "tokens/s", [("fixed 2048", "buckets.fixed")], Limit(0.9)),
    *[row("attention", f"attention, {what}, {way}", f"attention.{name}.ours.{way}", "TFLOP/s",
          [(f"LibTorch's {other}", f"attention.{name}.libtorch_{other}.{way}") for other in ("cudnn", "flash")])
      for what, name in (("causal", "causal"), ("window of 1024 in 10240", "window.1024")) for way in ("forward", "backward")],
    *[row("attention", f"attention, ten documents in 10240, {way}", f"attention.documents.equal.ours.{way}", "ms",
          [("with a dense mask", f"attention.documents.equal.dense_mask.{way}")], low=True) for way in ("forward", "backward")],
    row("documents", "10k, local/global over all-global", lambda f: f["documents.local.graph"].value / f["documents.global.graph"].value, "x",
        [("ratio of FLOP", lambda f: f["documents.global.flops_per_token"].value / f["documents.local.flops_per_token"].value)], Limit(0.85)),
    row("start", "start of R1 to its first step", "start.first_step", "s", [], floor(5), low=True),
    row("curves", "2,000 steps, our kernels and LibTorch's", "curves.difference", "nats", [("between 3 seeds", "curves.noise")],
        Limit(1), low=True),
    row("cpu", "CPU training step, 2 cores", "cpu.ours", "ms", [("PyTorch eager", "cpu.pytorch")], Limit(1 / 0.7), low=True),
]


def show(number, unit):
    if unit == "tokens/s":
        return f"{number / 1e3:.1f}k tok/s"
    digits = 0 if number == 0 else max(0, 2 - math.floor(math.log10(abs(number))))
    return f"{number:.{min(digits, 4)}f} {unit}"


def evaluate(figures, gpu, parts=None):
    """A dict for each row of `parts` (all: None); what was not measured is None there."""
    lines = []
    for r in ROWS:
        if parts is not None and r.part not in parts:
            continue
        line = dict(part=r.part, label=r.label, ours=None, peer=None, peer_label="", ratio=None, must="", aim="", verdict="", n=None)
        lines.append(line)
        must, aim = (next((limit for limit in limits if limit.gpu in gpu), None) for limits in (r.must, r.aim))
        line["must"], line["aim"] = (limit.text(r.low, r.unit) if limit else "" for limit in (must, aim))
        line["unit"] = r.unit
        for label, peer in r.peers:
            line["peer_label"] = line["peer_label"] or label
            try:
                line["peer"] = peer(figures)
            except KeyError:
                continue
            line["peer_label"] = label
            break
        try:
            line["ours"] = r.ours(figures)
        except KeyError:
            line["verdict"] = "not measured"
            continue
        if r.counted:
            line["n"] = figures[r.counted].n
        if line["peer"] and line["ours"]:
            line["ratio"] = line["peer"] / line["ours"] if r.low else line["ours"] / line["peer"]
        met = [limit.met(line["ours"], line["ratio"], r.low) if limit else None for limit in (must, aim)]
        if met[1]:
            line["verdict"] = "aim"
        elif met[0]:
            line["verdict"] = "must"
        elif met[0] is False:
            line["verdict"] = "BELOW"
        elif met[1] is False:
            line["verdict"] = "below aim"
    return lines


def render(lines, gpu, figures):
    """The table as text, the GPU's name first."""
    text = [gpu]
    if "ceilings.matmul" in figures:
        text.append(f"ceilings of the same run: {show(figures['ceilings.matmul'].value, 'TFLOP/s')} in bf16 products, "
                    f"{show(figures['ceilings.copy'].value, 'TB/s')} in copies")
    text.append("")
    cells = [("figure", "ours", "n", "beside it", "", "ratio", "must", "aim", "")]
    for line in lines:
        number = lambda key: "-" if line[key] is None else show(line[key], line["unit"])
        cells.append((line["label"], number("ours"), str(line["n"] or ""), line["peer_label"], number("peer") if line["peer_label"] else "",
                      "" if line["ratio"] is None else f"{line['ratio']:.2f}x", line["must"], line["aim"], line["verdict"]))
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    right = {1, 2, 4, 5}
    for row_cells in cells:
        text.append("  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row_cells, widths))).rstrip())
    return "\n".join(text) + "\n"
