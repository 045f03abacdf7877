#!/usr/bin/env python3
"""Draws one step of a merged trace (`conclave run --trace`) as an SVG: a row of passes and a row of collectives a rank.

    tools/bench/trace_picture.py RUN/trace.json STEP > picture.svg

Standard library only. Times are the ranks' own clocks, as in the trace.
"""

import json
import sys
from xml.sax.saxutils import escape

COLOURS = {"forward": "#5b8ff9", "backward": "#f6903d", "update": "#9aa5b1", "receive": "#d3d9e0",
           "reduce_scatter": "#3ba272", "all_gather": "#91d5a5", "all_reduce": "#2f7d5b", "all_to_all": "#b37feb"}
WIDTH, LEFT, ROW, GAP = 1100, 70, 16, 10


def main(path, step):
    events = json.load(open(path))["traceEvents"]
    lanes = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    drawn = [e for e in events if e["ph"] == "X" and e["args"]["step"] == step and lanes[e["pid"], e["tid"]] != "host"]
    if not drawn:
        sys.exit(f"{path} has no spans of step {step}")
    begin, end = min(e["ts"] for e in drawn), max(e["ts"] + e["dur"] for e in drawn)
    scale = (WIDTH - LEFT - 10) / (end - begin)
    ranks = sorted({e["pid"] for e in drawn})
    height = len(ranks) * (2 * ROW + GAP) + 60
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="10">')
    print(f'<rect width="{WIDTH}" height="{height}" fill="white"/>')
    for place, rank in enumerate(ranks):
        top = 10 + place * (2 * ROW + GAP)
        print(f'<text x="6" y="{top + 12}">rank {rank}</text><text x="6" y="{top + ROW + 12}" fill="#777">groups</text>')
        for e in (e for e in drawn if e["pid"] == rank):
            passes = lanes[rank, e["tid"]] == "step"
            kind = e["name"].split()[0]
            if kind not in COLOURS:
                continue
            x, width = LEFT + (e["ts"] - begin) * scale, max(e["dur"] * scale, 0.6)
            y = top if passes else top + ROW
            label = f'{lanes[rank, e["tid"]]}: {e["name"]}, {e["dur"] / 1e3:.2f} ms'
            print(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 2}" fill="{COLOURS[kind]}" '
                  f'fill-opacity="{1 if passes else 0.75}" stroke="white" stroke-width="0.4"><title>{escape(label)}</title></rect>')
            words = e["name"].replace(",", "").split()
            if passes and kind in ("forward", "backward") and width > 14:
                print(f'<text x="{x + 2:.1f}" y="{y + 11}" fill="white">{chr(97 + int(words[3]))}{words[5]}</text>')
    y = height - 34
    x = LEFT
    for kind, colour in COLOURS.items():
        print(f'<rect x="{x}" y="{y}" width="10" height="10" fill="{colour}"/><text x="{x + 14}" y="{y + 9}">{kind}</text>')
        x += 34 + 6 * len(kind)
    print(f'<text x="{LEFT}" y="{height - 8}" fill="#777">step {step}, {(end - begin) / 1e3:.1f} ms; letter and number of a '
          f'pass: chunk and micro-batch</text></svg>')


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]))
