#!/usr/bin/env python3
"""Writes topics.bin, a small classifier, and predictions.json: labels and scores that fastText's Python module gives.

    PYTHONPATH=.deps/peers python3 tests/golden/fasttext/make_reference.py

Needs fasttext (tools/bootstrap --peers), and to train the model Debian's package fasttext.
"""
import json
import pathlib
import subprocess
import tempfile

import fasttext

FOLDER = pathlib.Path(__file__).parent
TRAINING = {
    "cooking": ["boil the pasta in salted water", "bake the bread until it is brown", "chop an onion and fry it in butter",
                "a pinch of salt and pepper for the soup", "knead the dough and let it rest"],
    "sailing": ["hoist the sail and leave the harbour", "the wind turned and the boat heeled", "drop the anchor in the bay",
                "the captain reads the chart by night", "tack before the shallow water"],
    "chess": ["the knight forks king and rook", "castle early and guard the king", "a pawn on the seventh rank",
              "she gave up the queen for two rooks", "the opening led to an even endgame"],
    "music": ["tune the violin before the concert", "the choir sings in four parts", "a quiet song in a minor key",
              "play the scale with both hands", "the drummer lost the beat"],
    "garden": ["water the roses in the evening", "prune the apple tree in winter", "sow the beans in rows",
               "pull the weeds before they seed", "compost feeds the soil"],
    "weather": ["rain falls over the hills", "a storm comes from the west", "fog in the valley until noon",
                "frost tonight and sun tomorrow", "the heat will last all week"],
}
TEXTS = ["Boil the beans in salted water.\nThen fry an onion\n", "the captain gave up the queen", "sing a song", "",
         "wind and rain over the harbour\0all night", "größer — 音楽"]

if __name__ == "__main__":
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        for _ in range(200):
            for lines in zip(*TRAINING.values()):
                for label, line in zip(TRAINING, lines):
                    file.write(f"__label__{label} {line}\n")
        file.flush()
        subprocess.run(["fasttext", "supervised", "-input", file.name, "-output", str(FOLDER / "topics"), "-dim", "8", "-epoch",
                        "5", "-lr", "0.05", "-bucket", "200", "-minn", "2", "-maxn", "3", "-thread", "1", "-verbose", "0"],
                       check=True)
    (FOLDER / "topics.vec").unlink()
    model = fasttext.load_model(str(FOLDER / "topics.bin"))
    rows = []
    for text in TEXTS:
        found = model.f.predict(text.replace("\n", " ") + "\n", -1, 0.0, "strict")
        rows.append({"text": text, "labels": [[label.removeprefix("__label__"), score] for score, label in found]})
    (FOLDER / "predictions.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
