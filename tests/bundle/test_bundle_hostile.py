"""Every file that breaks a rule is refused with one line and a hint; nothing else than DataError ever comes out."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_bundles import edited, facts_with, groups_facts_with, pack, tensors_with, unpack

from dgdd_cli.bundle.manifest import identify
from dgdd_cli.bundle.read import load_bundle, verify_bundle
from dgdd_cli.bundle.write import write_bundle
from dgdd_cli.errors import DataError
from dgdd_cli.groups.file import write_groups
from dgdd_cli.storage.container import MAX_HEADER_BYTES, kind_of, read_container, tensor_sha256, write_container
from dgdd_cli.storage.layout import TensorRule

FUZZ = settings(
    max_examples=800,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def refused(path: Path, data: bytes, words: str) -> None:
    path.write_bytes(data)
    with pytest.raises(DataError, match=words) as caught:
        load_bundle(path)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 600
    assert caught.value.message.isprintable()
    assert caught.value.hint
    assert caught.value.exit_code == 3


def header_edited(data: bytes, edit: Callable[[dict[str, Any]], object], tail: bytes = b"") -> bytes:
    header, buffer = unpack(data)
    edit(header)
    return pack(json.dumps(header).encode(), buffer + tail)


def test_a_rebuilt_file_is_accepted(bundle_path: Path) -> None:
    """The tools of these tests do not themselves make a file invalid."""
    data = bundle_path.read_bytes()
    bundle_path.write_bytes(header_edited(data, lambda header: None))
    assert len(load_bundle(bundle_path)) == 4
    bundle_path.write_bytes(edited(data, lambda document: document.update(seed=8)))
    assert load_bundle(bundle_path).manifest.seed == 8


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it is empty"),
        (b"1234567", "no safetensors file"),
        (struct.pack("<Q", 100), "no safetensors file"),
        (struct.pack("<Q", 2**63) + b"{}", "no safetensors file"),
        (struct.pack("<Q", 2**64 - 1) + b"{}", "no safetensors file"),
        (struct.pack("<Q", 0), "no safetensors file"),
        (b"\x89PNG\r\n\x1a\n" + b"0" * 100, "no safetensors file"),
        (b"PK\x03\x04" + b"0" * 100, "zip archive"),
        (pickle.dumps({"images": [1, 2, 3]}), "pickle"),
        (pack(b'{"a": "\xff\xfe"}'), "not UTF-8"),
        (pack(b'{"a": '), "in its header"),
        (pack(b"[1, 2]"), "no safetensors file"),
        (pack(b' {"__metadata__": {}}'), "no safetensors file"),
        (pack(b"{}"), "no dgdd manifest"),
        (pack(b'{"__metadata__": 3}'), "no dgdd manifest"),
        (pack(b'{"__metadata__": {"format": "pt"}}'), "no dgdd manifest"),
        (pack(b'{"__metadata__": {"dgdd": {}}}'), "not a JSON text"),
        (pack(b'{"__metadata__": {"dgdd": "[]"}}'), "not a JSON object"),
        (pack(b'{"__metadata__": {"dgdd": "{"}}'), "in its manifest"),
        (pack(b'{"__metadata__": {"dgdd": "{}"}}'), "schema"),
        (pack(b'{"__metadata__": {"dgdd": "{}", "format": "pt"}}'), "besides"),
        (pack(b'{"__metadata__": {"dgdd": "{}", "dgdd": "{}"}}'), "'dgdd' occurs twice"),
        (pack(b'{"__metadata__": {"dgdd": "{\\"schema\\":\\"dgdd/2\\"}"}}'), "'dgdd/2'"),
        (pack(b'{"__metadata__": {"dgdd": "{\\"schema\\":\\"\\\\u001b[2J\\"}"}}'), "schema"),
        (pack(b'{"a": NaN}'), "NaN is not"),
        (pack(b'{"a": 1e999}'), "in its header"),
        (pack(b'{"a": "\\ud800"}'), "in its header"),
        (pack(b'{"a": ' + b"9" * 5000 + b"}"), "in its header"),
        (pack(b'{"a": ' + b"[" * 20 + b"]" * 20 + b"}"), "nested too deeply"),
        (pack(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "nested too deeply"),
        (pack(b"{" + b" " * MAX_HEADER_BYTES + b"}"), "header takes"),
    ],
)
def test_files_that_are_no_bundle(tmp_path: Path, data: bytes, words: str) -> None:
    refused(tmp_path / "b.safetensors", data, words)


def test_a_real_torch_file_is_not_opened(tmp_path: Path) -> None:
    torch.save({"images": torch.zeros(1)}, tmp_path / "b.pt")
    refused(tmp_path / "b.safetensors", (tmp_path / "b.pt").read_bytes(), "can run code")


def test_a_safetensors_file_of_another_program(tmp_path: Path) -> None:
    data = safetensors.numpy.save({"images": torch.zeros(2, dtype=torch.uint8).numpy()}, metadata={"format": "pt"})
    refused(tmp_path / "b.safetensors", data, "another program wrote it")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda h: h.update(extra={"dtype": "U8", "shape": [0], "data_offsets": [832, 832]}), "unexpected tensor"),
        (lambda h: h.pop("domains"), "'domains' is missing"),
        (lambda h: h["labels"].update(dtype="F64"), "must be int64"),
        (lambda h: h["labels"].update(dtype="F4"), "must be int64"),
        (lambda h: h["labels"].update(dtype=None), "must be int64"),
        (lambda h: h["labels"].update(dtype=["I64"]), "must be int64"),
        (lambda h: h["labels"].update(shape=[2, 2]), "with 1 dimension,"),
        (lambda h: h["labels"].update(shape=[5]), "as many bytes"),
        (lambda h: h["labels"].update(shape=[True]), "proper shape"),
        (lambda h: h["labels"].update(shape=[4.0]), "proper shape"),
        (lambda h: h["labels"].update(shape=["4"]), "proper shape"),
        (lambda h: h["labels"].update(shape=4), "proper shape"),
        (lambda h: h["labels"].update(note=1), "is not dtype, shape"),
        (lambda h: h.update(labels=[]), "is not dtype, shape"),
        (lambda h: h["labels"].pop("shape"), "is not dtype, shape"),
        (lambda h: h["images"].update(shape=[0, 2**50, 8, 8]), "proper shape"),
        (lambda h: h["images"].update(shape=[2**32, 2**32, 2**32, 2**32]), "as many bytes"),
        (lambda h: h["images"].update(shape=[0, 3, 8, 8], data_offsets=[64, 64]), "truncated or has bytes to spare"),
        (lambda h: h["labels"].update(data_offsets=[-8, 24]), "proper shape and offsets"),
        (lambda h: h["labels"].update(data_offsets=[64, 32]), "as many bytes"),
        (lambda h: h["labels"].update(data_offsets=[0, 32]), "does not start where"),
        (lambda h: h["labels"].update(data_offsets=[33, 65]), "does not start where"),
        (lambda h: h["labels"].update(data_offsets=[32]), "offsets"),
        (lambda h: h["images"].update(data_offsets=[64, 2**62]), "offsets"),
        (lambda h: h["__metadata__"].update(format="pt"), "besides"),
        (lambda h: h.update({"\x1b[2J" * 1000: {}}), "unexpected tensor"),
        (lambda h: h.update({f"t{i}": {} for i in range(100)}), "103 tensors"),
    ],
)
def test_headers_that_lie(bundle_path: Path, edit: Callable[[dict[str, Any]], object], words: str) -> None:
    refused(bundle_path, header_edited(bundle_path.read_bytes(), edit), words)


def test_what_the_library_accepts_is_refused(bundle_path: Path) -> None:
    """Duplicate tensor names, extra fields and a leading space pass the format's own library."""
    header, buffer = unpack(bundle_path.read_bytes())
    text = json.dumps(header)
    entry = json.dumps(header["labels"])
    for broken, words in (
        (text[:-1] + f', "labels": {entry}}}', "'labels' occurs twice"),
        (" " + text, "no safetensors file"),
        (text.replace('"dtype": "U8"', '"dtype": "U8", "more": 1'), "is not dtype, shape"),
    ):
        data = pack(broken.encode(), buffer)
        assert set(safetensors.numpy.load(data)) == {"images", "labels", "domains"}
        refused(bundle_path, data, words)


def test_hundreds_of_thousands_of_tensors_are_not_parsed(tmp_path: Path) -> None:
    names = ",".join(f'"t{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for i in range(40_000))
    refused(tmp_path / "b.safetensors", pack(b"{" + names.encode() + b"}"), "header takes")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda d: d.update(surprise=1), "surprise"),
        (lambda d: d.update({"\x1b]0;x\x07": 1}), r"x1b"),
        (lambda d: d.pop("seed"), "seed"),
        (lambda d: d.update(seed="7"), "seed"),
        (lambda d: d.update(seed=-1), "seed"),
        (lambda d: d.update(seed=True), "seed"),
        (lambda d: d.update(seed=2**80), "seed"),
        (lambda d: d.update(steps=1.5), "steps"),
        (lambda d: d.update(classes=[]), "classes"),
        (lambda d: d.update(classes="ab"), "classes"),
        (lambda d: d.update(classes=["cat", "cat"]), "twice in classes"),
        (lambda d: d.update(classes=["cat"]), "source counts the class"),
        (lambda d: d.update(classes=["cat", "dog", "eel"]), "not every class has 2"),
        (lambda d: d.update(domains=["photo", "photo"]), "twice in domains"),
        (lambda d: d.update(target="photo"), "among the sources"),
        (lambda d: d.update(target="x" * 300), "300 characters"),
        (lambda d: d.update(target=" "), "blank"),
        (lambda d: d.update(target="a\nb"), "control characters"),
        (lambda d: d.update(target="\x1b[31mred"), "control characters"),
        (lambda d: d.update(target="abc\u202etxt"), "control characters"),
        (lambda d: d["source"].update(licence="\x07"), "control characters"),
        (lambda d: d["source"].update(citation="x" * 5000), "characters long"),
        (lambda d: d["source"].update(fingerprint="xyz"), "fingerprint"),
        (lambda d: d["source"].update(fingerprint="0" * 64 + "\n"), "fingerprint"),
        (lambda d: d["source"]["counts"]["photo"].update(cat=-1), "counts.photo.cat"),
        (lambda d: d["source"]["counts"].update(nowhere={}), "nowhere"),
        (lambda d: d["source"]["domain_fingerprints"].update(nowhere="0" * 64), "nowhere"),
        (lambda d: d["normalise"].update(std=[1, 0, 1]), "normalise.std"),
        (lambda d: d["normalise"].update(mean=[1, 0]), "normalise.mean"),
        (lambda d: d["synthesis"].update(name="partition"), "synthesis.name"),
        (lambda d: d["images"].update(count=5), "shape"),
        (lambda d: d["images"].update(count=True), "images.count"),
        (lambda d: d["images"].update(ipc=1), "not every class has 1"),
        (lambda d: d["images"].update(height=4, width=16), "shape"),
        (lambda d: d["images"].update(space="normalised"), "images.space"),
        (lambda d: d["images"].update(layout="NHWC"), "images.layout"),
        (lambda d: d["hashes"].update(images="0" * 64), "'images' is not the one that was written"),
        (lambda d: d["hashes"].update(labels="0" * 64), "'labels' is not the one"),
        (lambda d: d["hashes"].update(groups="0" * 64), "hashes do not name"),
        (lambda d: d["hashes"].pop("domains"), "hashes do not name"),
        (lambda d: d["method"]["settings"].update(deep=[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]), "nested too deeply"),
    ],
)
def test_manifests_that_lie(bundle_path: Path, edit: Callable[[dict[str, Any]], object], words: str) -> None:
    refused(bundle_path, edited(bundle_path.read_bytes(), edit), words)


def test_a_manifest_changed_without_its_id(bundle_path: Path) -> None:
    data = edited(bundle_path.read_bytes(), lambda d: d.update(seed=99), resign=False)
    refused(bundle_path, data, "its manifest was changed")


def test_duplicate_keys_in_the_manifest(bundle_path: Path) -> None:
    header, buffer = unpack(bundle_path.read_bytes())
    header["__metadata__"]["dgdd"] = header["__metadata__"]["dgdd"].replace('"seed":7', '"seed":7,"seed":7')
    refused(bundle_path, pack(json.dumps(header).encode(), buffer), "'seed' occurs twice")


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite(bundle_path: Path, literal: str) -> None:
    header, buffer = unpack(bundle_path.read_bytes())
    header["__metadata__"]["dgdd"] = header["__metadata__"]["dgdd"].replace("1.5", literal)
    refused(bundle_path, pack(json.dumps(header).encode(), buffer), "in its manifest")


def resigned(data: bytes, name: str, tensor: torch.Tensor) -> bytes:
    """The bundle with one tensor replaced (same shape) and its hash and id recomputed."""
    header, buffer = unpack(data)
    begin, end = header[name]["data_offsets"]
    raw = tensor.numpy().tobytes()
    assert len(raw) == end - begin
    changed = pack(json.dumps(header).encode(), buffer[:begin] + raw + buffer[end:])
    return edited(changed, lambda d: d["hashes"].update({name: tensor_sha256(tensor)}))


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("labels", [0, 0, 1, 2], "'labels' holds 2, outside 0 to 1"),
        ("labels", [0, 0, 1, -1], "'labels' holds -1"),
        ("labels", [0, 0, 1, 2**62], "outside 0 to 1"),
        ("labels", [0, 1, 1, 1], "not every class has 2 images"),
        ("domains", [0, 0, 0, 2], "'domains' holds 2, outside -1 to 1"),
        ("domains", [0, 0, 0, -2], "'domains' holds -2"),
    ],
)
def test_indices_out_of_range(bundle_path: Path, name: str, values: list[int], words: str) -> None:
    refused(bundle_path, resigned(bundle_path.read_bytes(), name, torch.tensor(values)), words)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_soft_labels_must_be_finite(tmp_path: Path, value: float) -> None:
    path = tmp_path / "b.safetensors"
    write_bundle(path, tensors_with(soft_labels=torch.full((4, 2), 0.5)), facts_with())
    bad = torch.tensor([[0.0, 1.0]] * 3 + [[value, 1.0]])
    refused(path, resigned(path.read_bytes(), "soft_labels", bad), "NaN or infinite")


def test_a_single_flipped_pixel_is_noticed(bundle_path: Path) -> None:
    data = bytearray(bundle_path.read_bytes())
    data[-1] ^= 1
    refused(bundle_path, bytes(data), "'images' is not the one that was written")


def test_truncated_at_every_seventh_byte(bundle_path: Path) -> None:
    data = bundle_path.read_bytes()
    for length in range(0, len(data), 7):
        refused(bundle_path, data[:length], "is not a valid bundle")


def test_trailing_bytes(bundle_path: Path) -> None:
    refused(bundle_path, bundle_path.read_bytes() + b"\0", "bytes to spare")


def test_a_header_padded_with_spaces_is_fine(bundle_path: Path) -> None:
    header, buffer = unpack(bundle_path.read_bytes())
    bundle_path.write_bytes(pack(json.dumps(header).encode() + b" " * 9, buffer))
    assert len(load_bundle(bundle_path)) == 4


@pytest.mark.parametrize("first", [b"\x80\x02\x01", b"\x80\x03\x01", b"\x80\x04\x01", b"\x80\x05\x01", b"\x80\x08"])
def test_a_header_length_that_looks_like_a_pickle_is_fine(bundle_path: Path, first: bytes) -> None:
    header, buffer = unpack(bundle_path.read_bytes())
    length = int.from_bytes(first, "little")
    bundle_path.write_bytes(pack(json.dumps(header).encode().ljust(length), buffer))
    assert bundle_path.read_bytes().startswith(first)
    assert len(load_bundle(bundle_path)) == 4


def test_a_groups_file_is_not_a_bundle(tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    write_groups(path, torch.tensor([0, 1]), torch.zeros(2, 3), groups_facts_with())
    with pytest.raises(DataError, match="is a groups file, not a bundle"):
        load_bundle(path)


def test_a_checkpoint_is_a_kind_of_its_own(tmp_path: Path, bundle_path: Path) -> None:
    path = tmp_path / "b.checkpoint"
    state = {
        "tensor.images": torch.rand(4, 3, 8, 8),
        "velocity.images": torch.zeros(4, 3, 8, 8),
        "labels": torch.tensor([0, 0, 1, 1]),
        "domains": torch.tensor([0, 1, 0, 1]),
    }
    state["standing"] = torch.zeros(0)
    write_container(path, state, {"schema": "dgdd.checkpoint/3", "step": 3}, overwrite=False)
    optimised = {f"{what}.images": TensorRule("F32", 4) for what in ("tensor", "velocity")}
    tensors, document = read_container(path, kind="checkpoint", more=lambda document: optimised)
    assert document["step"] == 3
    assert all(torch.equal(tensors[name], state[name]) for name in state)
    assert [kind_of(path), kind_of(bundle_path)] == ["checkpoint", "bundle"]
    with pytest.raises(DataError, match="is a checkpoint, not a bundle") as caught:
        load_bundle(path)
    assert "--resume" in (caught.value.hint or "")


def test_a_missing_file_suggests_its_neighbours(bundle_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist") as caught:
        load_bundle(bundle_path.with_name("toi.safetensors"))
    assert "toy.safetensors" in (caught.value.hint or "")
    with pytest.raises(DataError, match="does not exist") as caught:
        load_bundle(bundle_path.parent / "nowhere" / "toy.safetensors")
    assert "folder" in (caught.value.hint or "")
    with pytest.raises(DataError, match="does not exist"):
        load_bundle(bundle_path / "toy.safetensors")


def test_folders_pipes_and_impossible_names(bundle_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder") as caught:
        load_bundle(bundle_path.parent)
    assert "toy.safetensors" in (caught.value.hint or "")
    pipe = bundle_path.with_name("pipe")
    os.mkfifo(pipe)
    with pytest.raises(DataError, match="not a regular file"):
        load_bundle(pipe)
    with pytest.raises(DataError, match="cannot read"):
        load_bundle("a\0b")
    with pytest.raises(DataError, match="cannot read"):
        load_bundle("x" * 300)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(bundle_path: Path) -> None:
    bundle_path.chmod(0)
    with pytest.raises(DataError, match="Permission denied"):
        load_bundle(bundle_path)


def test_an_oversized_file_is_refused_by_its_size_alone(tmp_path: Path) -> None:
    path = tmp_path / "b.safetensors"
    with path.open("wb") as file:
        file.truncate(9 * 2**30)  # sparse: no disk is used
    with pytest.raises(DataError, match="more than the"):
        load_bundle(path)


def test_verify_says_what_it_checked(bundle_path: Path) -> None:
    lines = verify_bundle(bundle_path)
    assert [line.partition(":")[0] for line in lines] == ["schema", "tensors", "counts", "ranges", "hashes", "id"]


@FUZZ
@given(data=st.data())
def test_mutated_bytes_are_refused_or_harmless(bundle_path: Path, data: st.DataObject) -> None:
    original = bundle_path.parent / "original"
    if not original.exists():
        original.write_bytes(bundle_path.read_bytes())
    mutated = bytearray(original.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(mutated) - 2)))
        match data.draw(st.sampled_from(["set", "insert", "delete", "cut"])):
            case "set":
                mutated[at : at + 1] = bytes([data.draw(st.integers(0, 255))])
            case "insert":
                mutated[at:at] = data.draw(st.binary(min_size=1, max_size=16))
            case "delete":
                del mutated[at : at + data.draw(st.integers(1, 64))]
            case _:
                del mutated[at + 1 :]
    bundle_path.write_bytes(mutated)
    try:
        found = load_bundle(bundle_path)
    except DataError:
        return
    bundle_path.write_bytes(original.read_bytes())
    assert torch.equal(found.images, load_bundle(bundle_path).images)
    assert found.manifest == load_bundle(bundle_path).manifest


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@FUZZ
@given(data=st.data())
def test_any_value_in_any_place_is_refused_or_harmless(bundle_path: Path, data: st.DataObject) -> None:
    """Structure-aware: one node of the header or the manifest becomes an arbitrary JSON value; the id stays right."""
    original = bundle_path.parent / "original"
    if not original.exists():
        original.write_bytes(bundle_path.read_bytes())
    header, buffer = unpack(original.read_bytes())
    document = json.loads(header["__metadata__"]["dgdd"])
    root = data.draw(st.sampled_from([header, document]))
    node: Any = root
    while True:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.booleans()):
            break
        node = node[key]
    node[key] = data.draw(VALUES)
    if root is document:
        try:
            document["id"] = identify(document)
        except ValueError:
            document["id"] = "f" * 16
        header["__metadata__"]["dgdd"] = json.dumps(document)
    bundle_path.write_bytes(pack(json.dumps(header).encode(), buffer))
    try:
        found = load_bundle(bundle_path)
    except DataError:
        return
    assert found.images.shape == (4, 3, 8, 8)
