#!/usr/bin/env python3
"""Does robust distillation serve a rare subgroup? One domain is cut to a small share of the training images, every
method distils that set with and without a risk over groups, and all are tested on images that no method saw.

    python examples/rare_subgroup.py --dataset digits --rare typeset --out runs/rare
    python examples/rare_subgroup.py --dataset pacs --data ~/datasets --rare sketch --share 0.05 --out runs/rare-pacs
    python examples/rare_subgroup.py --dataset pacs --data ~/datasets --rare sketch --hide-in cartoon --share 0.05 \
        --variants "sgs,sgs+cvar 0.9 (spectrum clusters)" --out runs/hidden-pacs   # no domain label tells of it

It writes the training and the test set of each seed as folders of PNGs, runs the `dgdd` command on them, and keeps each
bundle and evaluation in --out: started again, it does what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from rare_report import build_report, markdown

# name: arguments of `dgdd distill`; a robust variant names its plain counterpart. {spectrum}: a groups file.
VARIANTS: dict[str, tuple[str, str | None]] = {
    "dm": ("--method dm", None),
    "dm+mean": ("--method dm --risk mean --groups domain", "dm"),
    "dm+cvar 0.9": ("--method dm --risk cvar --groups domain --cvar-tail 0.9", "dm"),
    "dm+cvar 0.75": ("--method dm --risk cvar --groups domain --cvar-tail 0.75", "dm"),
    "dm+group-dro": ("--method dm --risk group-dro --groups domain", "dm"),
    "dm+cvar 0.9 (pixel clusters)": ("--method dm --risk cvar --groups kmeans:4 --cvar-tail 0.9", "dm"),
    "dm+cvar 0.9 (spectrum clusters)": ("--method dm --risk cvar --groups {spectrum} --cvar-tail 0.9", "dm"),
    "sgs": ("--method sgs", None),
    "sgs+cvar 0.9": ("--method sgs --risk cvar --groups domain --cvar-tail 0.9", "sgs"),
    "sgs+cvar 0.75": ("--method sgs --risk cvar --groups domain --cvar-tail 0.75", "sgs"),
    "sgs+group-dro": ("--method sgs --risk group-dro --groups domain", "sgs"),
    "sgs+cvar 0.9 (spectrum clusters)": ("--method sgs --risk cvar --groups {spectrum} --cvar-tail 0.9", "sgs"),
    "dsa": ("--method dsa", None),
    "rdd": ("--method rdd", "dsa"),
    "rdd (spectrum clusters)": ("--method rdd --groups {spectrum}", "dsa"),
    "rdd (domains)": ("--method rdd --groups domain", "dsa"),
}
HIDDEN = "hidden-"  # how the names of rare images begin that bear the label of another domain
FEATURES = ("pixels", "spectrum", "convnet")  # by which rare images are searched for; kmeans:4 takes the pixels


def main() -> None:
    options = parse_arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    keep_settings(options)
    names = [name.strip() for name in options.variants.split(",")]
    if unknown := sorted(set(names) - set(VARIANTS)):
        raise SystemExit(f"--variants: {', '.join(unknown)} is none of {', '.join(VARIANTS)}")
    records = [run_seed(options, names, seed) for seed in range(options.seeds)]
    report = build_report(options, VARIANTS, names, records)
    (options.out / "results.json").write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (options.out / "results.md").write_text(markdown(report), encoding="utf-8")
    print(markdown(report))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data", type=Path, help="folder that holds the datasets")
    parser.add_argument("--domains", help="comma-separated domains to take part; default: all")
    parser.add_argument("--rare", required=True, help="the domain to cut")
    parser.add_argument("--hide-in", metavar="DOMAIN", help="the domain whose label the rare images bear in training")
    parser.add_argument("--share", type=float, default=0.02, help="of the training images that the rare domain keeps")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--image-size", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--evaluate", default="--set width=64", help="further arguments of dgdd evaluate")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def keep_settings(options: argparse.Namespace) -> None:
    """Refuse to mix runs: what decides a figure is kept beside the figures and must be the same the next time."""
    left_out = ("out", "seeds", "variants", "data")
    settings = {name: value for name, value in vars(options).items() if name not in left_out}
    settings["augment"] = augmentation(options)
    path = options.out / "settings.json"
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != settings:
        raise SystemExit(f"{path} belongs to a study with other settings: name another --out")
    path.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def run_seed(options: argparse.Namespace, names: list[str], seed: int) -> dict[str, Any]:
    """Accuracies by variant and domain, the number of images by domain, and what clusters find of the rare one."""
    folder = options.out / f"seed-{seed}"
    counts_file = folder / "counts.json"
    if not counts_file.exists():
        keep(counts_file, json.dumps(write_sets(options, folder, seed)))
    counts = json.loads(counts_file.read_text(encoding="utf-8"))
    clusters = {features: find_clusters(options, folder, seed, features) for features in FEATURES}
    accuracy, balanced = {}, {}
    for name in names:
        record = folder / f"{slug(name)}.json"
        if not record.exists():
            bundle = folder / f"{slug(name)}.safetensors"
            if not bundle.exists():
                where = [str(folder / "train"), "--target", "none", "--image-size", str(options.image_size)]
                resume = ["--resume"] if bundle.with_name(bundle.name + ".checkpoint").exists() else []
                size = ["--ipc", str(options.ipc), "--seed", str(seed), "--out", str(bundle), *resume]
                look = ["--set", f"probes.augment={augmentation(options)}"]
                dgdd("distill", *where, *variant_arguments(name, folder), *look, *size, "-q")
            where = ["--dataset", str(folder / "test"), "--target", ",".join(counts["test"]), "--seed", str(seed)]
            look = ["--set", f"augment={augmentation(options)}"]
            budget = ["--repeats", str(options.repeats), *look, *shlex.split(options.evaluate)]
            keep(record, dgdd("evaluate", str(bundle), *where, *budget, "--json"))
        document = json.loads(record.read_text(encoding="utf-8"))
        accuracy[name] = {entry["target"]: entry["accuracy"]["mean"] for entry in document["results"]}
        balanced[name] = {entry["target"]: entry["balanced_accuracy"]["mean"] for entry in document["results"]}
        protocol = document["protocol"]
        device = document["device"]["name"]
    figures = {"balanced_accuracy": balanced, "accuracy": accuracy}
    return figures | {"counts": counts, "clusters": clusters, "protocol": protocol, "device": device}


def augmentation(options: argparse.Namespace) -> str:
    """What `auto` is for the dataset that is cut: the folders written here do not say that digits have no mirror."""
    from dgdd_cli.augment import for_dataset
    from dgdd_cli.data.load import locate

    return for_dataset("auto", locate(options.dataset, data_dir=options.data).name)


def variant_arguments(name: str, folder: Path) -> list[str]:
    return [word.format(spectrum=folder / "spectrum.safetensors") for word in shlex.split(VARIANTS[name][0])]


def find_clusters(options: argparse.Namespace, folder: Path, seed: int, features: str) -> float:
    """How many times its share the rare domain gets where four clusters a class, by these features, count alike."""
    import torch
    from PIL import Image

    from dgdd_cli.data.load import locate, read
    from dgdd_cli.groups.file import read_groups

    path, training = folder / f"{features}.safetensors", folder / "train"
    if not path.exists():
        how = ["--groups", "4", "--per", "class", "--features", features, "--image-size", str(options.image_size)]
        dgdd("cluster", str(training), *how, "--seed", str(seed), "--out", str(path), "-q")
    data = read(locate(str(training), data_dir=None), image_size=options.image_size)
    groups = read_groups(path).groups
    if options.hide_in:
        hidden = {Image.open(file).tobytes() for file in training.glob(f"*/*/{HIDDEN}*")}
        pictures = data.images.permute(0, 2, 3, 1).numpy()
        rare = torch.tensor([picture.tobytes() in hidden for picture in pictures])
    else:
        rare = data.domains == data.domain_names.index(options.rare)
    shares, counted = [], []
    for c in range(len(data.class_names)):
        here = data.labels == c
        shares.append(float(rare[here].double().mean()))
        counted.append(statistics.fmean(float(rare[groups == g].double().mean()) for g in groups[here].unique()))
    return statistics.fmean(counted) / statistics.fmean(shares)


def dgdd(*arguments: str) -> str:
    kept = ("DGDD_CACHE", "DGDD_OFFLINE")  # a setting of somebody's shell would change what is compared
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DGDD_") or key in kept}
    command = [sys.executable, "-m", "dgdd_cli", *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"dgdd {shlex.join(arguments)}\nexit code {run.returncode}\n{run.stderr}")
    return run.stdout


def write_sets(options: argparse.Namespace, folder: Path, seed: int) -> dict[str, dict[str, int]]:
    """Three quarters of each cell train and the rest test; of the rare domain, what its share allows trains."""
    import torch
    from PIL import Image

    from dgdd_cli.data.load import locate, read
    from dgdd_cli.runtime.seeds import stream

    located = locate(options.dataset, data_dir=options.data)
    domains = options.domains.split(",") if options.domains else list(located.domain_names)
    data = read(located, image_size=options.image_size, domains=domains)
    if options.rare not in domains:
        raise SystemExit(f"--rare {options.rare}: the domains are {', '.join(domains)}")
    if options.hide_in and (options.hide_in not in domains or options.hide_in == options.rare):
        raise SystemExit(f"--hide-in {options.hide_in}: must be another of the domains {', '.join(domains)}")
    rare, classes = data.domain_names.index(options.rare), len(data.class_names)
    cells = {}
    for d in range(len(domains)):
        for c in range(classes):
            rows = ((data.domains == d) & (data.labels == c)).nonzero().squeeze(1)
            cells[d, c] = rows[torch.randperm(len(rows), generator=stream(seed, "rare subgroup", d, c))]
    training = {key: 3 * len(rows) // 4 for key, rows in cells.items() if key[0] != rare}
    allowed = round(sum(training.values()) * options.share / (1 - options.share))
    for c in range(classes):
        training[rare, c] = max(1, allowed // classes + (c < allowed % classes))
    counts = {part: dict.fromkeys(domains, 0) for part in ("train", "test")}
    for (d, c), rows in cells.items():
        for place, row in enumerate(rows.tolist()):
            part = "train" if place < training[d, c] else "test"
            hidden = options.hide_in if part == "train" and d == rare else None
            name = f"{HIDDEN if hidden else ''}{row:05d}.png"
            path = folder / part / (hidden or domains[d]) / data.class_names[c] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(data.images[row].permute(1, 2, 0).numpy()).save(path)
            counts[part][domains[d]] += 1
    return counts


def keep(path: Path, text: str) -> None:
    """Write atomically: a record that exists is complete."""
    temporary = path.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
    print(f"{path.parent.name}: {path.stem}", file=sys.stderr, flush=True)


def slug(name: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in name).strip("-")


if __name__ == "__main__":
    main()
