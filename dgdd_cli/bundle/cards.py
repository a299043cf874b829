"""The pages that accompany exported images: a dataset card for people and hubs, Croissant metadata for machines."""

from __future__ import annotations

import html
import json
import re
from typing import Any

from dgdd_cli.bundle.decoding import synthesis_in_words
from dgdd_cli.bundle.read import Bundle
from dgdd_cli.text import plural, printable

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


_LEARNT = {
    "probability": "probabilities of the classes in the bundle's order, learnt by soft cross-entropy",
    "regression": "regression targets of the classes in the bundle's order, learnt by squared error",
}


def dataset_card(bundle: Bundle) -> str:
    """README.md of an exported set: the hub's YAML header, origin, licence, and how to load it."""
    m, count = bundle.manifest, len(bundle.images)
    size = next((name for limit, name in _SIZES if count < limit), "1M<n<10M")
    stored, kind = synthesis_in_words(m), bundle.labelled().labels.kind
    pixels = "what its stored images decode to" if stored else "lossless copies of the pixels in the\nbundle"
    soft = ", and what it is taught as `soft_label`" if kind in _LEARNT else ""
    title = f"{m.source.dataset}, distilled with {m.method.name}"
    rows = [
        ("method", m.method.name),
        ("images", f"{count}, {count // len(m.classes)} per class, {m.images.height} x {m.images.width} pixels"),
        *([("stored in the bundle as", stored)] if stored else []),
        *([("soft labels", f"{kind}: {_LEARNT[kind]}")] if kind in _LEARNT else []),
        ("classes", str(len(m.classes))),
        ("source domains", ", ".join(m.domains)),
        ("held-out target", m.target or "no domain"),
        ("seed, steps", f"{m.seed}, {m.steps}"),
        ("bundle", f"{m.schema_name}, id {m.id}"),
        ("source data", f"{m.source.dataset}, fingerprint {m.source.fingerprint[:16]}"),
        ("licence of the source data", m.source.licence),
        ("citation of the source data", m.source.citation),
    ]
    table = "\n".join(f"| {name} | {_markdown(value)} |" for name, value in rows)
    mean, std = (", ".join(f"{v:.4f}" for v in values) for values in (m.normalise.mean, m.normalise.std))
    before = f"Before a network apply mean ({mean}) and std ({std}) to pixels in [0, 1]."
    folders = "Folders are named after the classes"
    return f"""---
pretty_name: {_yaml(title)}
task_categories: [image-classification]
size_categories: [{json.dumps(size)}]
tags: [dataset-distillation, domain-generalisation]
configs:
- config_name: dgdd-{m.id}
  data_files:
  - split: train
    path: ["*/*.png", "metadata.jsonl"]
---

# {_markdown(title)}

Synthetic training images that stand for a whole dataset, made by dgdd. They are {pixels}, not normalised. {before}

| | |
|---|---|
{table}

`metadata.jsonl` gives label, source domain and index in the bundle for every file{soft}. {folders}
and sort in the bundle's order, so that loaders which number classes by folder give the bundle's labels: where the
names alone do not sort so, each begins with its class's number (`0+Zebra`, `1+apple`). Unusual characters are replaced,
and a `+` stands before words that loaders take for a split (`+train`, `crash+test`) and, in the columns, before names
that they take for a date (`+2024-05-01`).

```python
torchvision.datasets.ImageFolder("DIR")   # torchvision
datasets.load_dataset("DIR")              # Hugging Face datasets, also load_dataset("imagefolder", data_dir="DIR")
```
"""


def croissant(bundle: Bundle, metadata_sha256: str) -> str:
    """Croissant 1.1 JSON-LD of an exported set; `metadata_sha256` is that of metadata.jsonl."""
    m, per_class = bundle.manifest, len(bundle.images) // len(bundle.manifest.classes)
    fields = [("file_name", "sc:Text"), ("label", "sc:Text"), ("domain", "sc:Text"), ("index", "sc:Integer")]
    taught, array = [], {}
    if bundle.soft_labels is not None:
        array = {"isArray": "cr:isArray", "arrayShape": "cr:arrayShape"}
        taught = [_field("soft_label", "sc:Float") | {"isArray": True, "arrayShape": str(len(m.classes))}]
    document: dict[str, Any] = {
        "@context": {
            "@language": "en",
            "@vocab": "https://schema.org/",
            "sc": "https://schema.org/",
            "cr": "http://mlcommons.org/croissant/",
            "dct": "http://purl.org/dc/terms/",
            "prov": "http://www.w3.org/ns/prov#",
            "citeAs": "cr:citeAs",
            "column": "cr:column",
            "conformsTo": "dct:conformsTo",
            "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
            "extract": "cr:extract",
            "field": "cr:field",
            "fileObject": "cr:fileObject",
            "includes": "cr:includes",
            "recordSet": "cr:recordSet",
            "source": "cr:source",
            **array,
        },
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": f"{m.source.dataset}-{m.method.name}-{m.id}",
        "description": f"{plural(per_class, 'synthetic image')} per class distilled from {m.source.dataset} "
        f"({', '.join(m.domains)}) with {m.method.name}.",
        "version": m.id,
        "license": m.source.licence,
        "citeAs": m.source.citation,
        "keywords": ["dataset distillation", "domain generalisation"],
        "prov:wasDerivedFrom": {"@type": "sc:Dataset", "name": m.source.dataset, "identifier": m.source.fingerprint},
        "prov:wasGeneratedBy": {"@type": "prov:Activity", "name": "dgdd distill", "description": m.method.name},
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "metadata.jsonl",
                "name": "metadata.jsonl",
                "contentUrl": "metadata.jsonl",
                "encodingFormat": "application/jsonlines",
                "sha256": metadata_sha256,
            },
            {
                "@type": "cr:FileSet",
                "@id": "images",
                "name": "images",
                "encodingFormat": "image/png",
                "includes": "*/*.png",
            },
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "records",
                "name": "records",
                "field": [*(_field(name, kind) for name, kind in fields), *taught],
            }
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _field(name: str, kind: str) -> dict[str, Any]:
    """A column of metadata.jsonl."""
    return {
        "@type": "cr:Field",
        "@id": f"records/{name}",
        "name": name,
        "dataType": kind,
        "source": {"fileObject": {"@id": "metadata.jsonl"}, "extract": {"column": name}},
    }


def _yaml(text: str) -> str:
    """`text` as a double-quoted YAML scalar on one line."""
    quoted = json.dumps(text, ensure_ascii=False)  # with escapes, a letter beyond U+FFFF would become two halves
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)


def _markdown(text: str) -> str:
    shown = html.escape(printable(text.replace("\n", " ").replace("\t", " "), length=1000), quote=False)
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", shown)
