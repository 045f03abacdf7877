#!/usr/bin/env python3
"""Validates experiments against `conclave schema` with Python's jsonschema.

  check_schema.py CONCLAVE EXPERIMENTS      exit 77, with a line that says so, where jsonschema or PyYAML is missing

Right files must pass: every file of the experiments folder and a few forms that only composition resolves. Wrong ones must
fail, at the key that is wrong.
"""
import copy
import json
import os
import pathlib
import subprocess
import sys

sys.path.append(os.environ.get("CONCLAVE_ORACLES", ""))
try:
    import jsonschema
    import yaml
except ImportError as missing:
    print(f"SKIPPED: {missing.name} is missing (tools/bootstrap --oracles): nothing checked the JSON Schema")
    sys.exit(77)


class Loader(yaml.SafeLoader):
    """As an editor reads an experiment: !append and !prepend stand before plain lists."""


for tag in ("!append", "!prepend"):
    Loader.add_constructor(tag, lambda loader, node: loader.construct_sequence(node, deep=True))

RIGHT = """
conclave: 1
data:
  domains: {web: {share: 50, source: {use: source/text, with: {paths: a.txt}}}}
  filters: [{use: filter/length, name: gate}]
  tokenizer: {use: tokenizer/bytes}
model: {use: model/moe-transformer, with: {layers: 2}}
optimizer: {use: optimizer/adamw, with: {lr: 1e-4, betas: [0.9, 0.98]}}
scheduler: {use: scheduler/warmup-cosine, with: {warmup: 5%}}
precision: {compute: bf16}
train: {steps: 100k, batch: 8, label_smoothing: 0.1}
"""
# Merged over RIGHT; None stands for null.
ALSO_RIGHT = {
    "null over a base": {"checkpoint": None, "precision": None, "train": {"clip_grad_norm": None}},
    "no more than a base": {"extends": "base.yaml"},
    "several bases": {"extends": ["a.yaml", "b.yaml"]},
    "variables of any kind": {"vars": {"ps": ["a", "b"], "n": 3, "m": {"a": [1]}, "none": None}},
    "variables instead of values": {
        "seed": "${n}", "precision": "${p}", "model": "${m}", "monitors": "${ms}", "evaluate": {"every": "${e}"},
        "optimizer": {"use": "optimizer/adamw", "with": "${w}"},
        "data": {"length": {"too_long": "${t}", "max": "${env:MAX}"}}},
    "items by name": {"data": {"filters": {"gate": {"with": {}}}}},
    "large seed": {"seed": 2**64 - 1},
    "a chained plugin": {"checkpoint": {"use": "checkpoint/keep-last", "with": {"every": 1000}}},
}
# A change of RIGHT, and the path at which the validator must complain.
WRONG = {
    "a section": ({"trian": {}}, ""),
    "an option": ({"train": {"stpes": 5}}, "train"),
    "a plugin's option": ({"optimizer": {"with": {"lrr": 1}}}, "optimizer/with"),
    "another kind": ({"model": {"use": "optimizer/adamw"}}, "model/use"),
    "an unknown plugin": ({"model": {"use": "model/meo"}}, "model/use"),
    "a choice": ({"precision": {"compute": "fp17"}}, "precision/compute"),
    "a unit": ({"train": {"steps": "5q"}}, "train/steps"),
    "a range": ({"train": {"label_smoothing": 2}}, "train/label_smoothing"),
    "more steps than can be counted": ({"train": {"steps": 10**12}}, "train/steps"),
    "a list's length": ({"optimizer": {"with": {"betas": [0.9, 0.98, 0.99]}}}, "optimizer/with/betas"),
    "a block that is a number": ({"checkpoint": 5}, "checkpoint"),
    "a name where there is one block": ({"model": {"name": "mine"}}, "model"),
    "an option of a domain": ({"data": {"domains": {"web": {"shaer": 1}}}}, "data/domains/web"),
    "an option of a filter": ({"data": {"filters": [{"use": "filter/length", "with": {"nim": 1}}]}}, "data/filters"),
    "another schema version": ({"conclave": 2}, "conclave"),
    "text for a truth": ({"train": {"recompute": "yes, please"}}, "train/recompute"),
}


def merged(below, above):
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}


def main():
    conclave, experiments = sys.argv[1], pathlib.Path(sys.argv[2])
    schema = json.loads(subprocess.run([conclave, "schema"], check=True, capture_output=True, text=True).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    failures = []

    def complaints(document):
        return ["/".join(map(str, error.absolute_path)) + ": " + error.message[:200] for error in validator.iter_errors(document)]

    right = yaml.load(RIGHT, Loader)
    documents = {"RIGHT": right}
    documents.update({name: merged(copy.deepcopy(right), change) for name, change in ALSO_RIGHT.items()})
    files = sorted(experiments.rglob("*.yaml"))
    documents.update({str(file): yaml.load(file.read_text(), Loader) for file in files})
    for name, document in documents.items():
        if found := complaints(document):
            failures.append(f"{name} is right, but: {found}")
    for name, (change, place) in WRONG.items():
        found = complaints(merged(copy.deepcopy(right), change))
        if not any(text.startswith(place + ":") for text in found):
            failures.append(f"{name} is wrong at '{place}', but the validator says: {found}")
    print("\n".join(failures) or f"{len(documents)} right documents ({len(files)} files) and {len(WRONG)} wrong ones told apart")
    if not files:
        failures.append("no experiment was found")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
