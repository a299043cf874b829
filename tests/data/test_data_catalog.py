from __future__ import annotations

import subprocess
import sys

import pytest

from dgdd_cli.data.catalog import CATALOG, canonical_domain, dataset_names, entry_for, fold, folder_domain
from dgdd_cli.errors import UnknownName


def test_the_promised_sets_are_there() -> None:
    promised = {"digits", "pacs", "vlcs", "office_home", "terra_incognita", "domainnet"}
    assert promised <= set(dataset_names())


@pytest.mark.parametrize("name", dataset_names())
def test_each_entry_is_complete_and_consistent(name: str) -> None:
    entry = CATALOG[name]
    assert entry.default_target in entry.domain_names
    assert len(set(entry.domain_names)) == len(entry.domain_names) >= 4
    assert len({fold(c) for c in entry.class_names}) == len(entry.class_names)
    assert set(entry.aliases.values()) == set(entry.domain_names)
    assert all(alias == fold(alias) for alias in entry.aliases)
    assert all(canonical_domain(entry, domain) == domain for domain in entry.domain_names)
    assert entry.licence
    assert entry.citation
    assert all(0 < m < 1 for m in entry.mean + entry.std)
    if name != "digits":
        assert "/<domain>/<class>/<image>" in entry.obtain
        assert entry.folder_names


def test_class_counts_are_the_published_ones() -> None:
    counts = {name: len(CATALOG[name].class_names) for name in ("digits", "pacs", "vlcs", "office_home")}
    assert counts == {"digits": 10, "pacs": 7, "vlcs": 5, "office_home": 65}
    assert CATALOG["domainnet"].class_names == ()


@pytest.mark.parametrize(
    ("dataset", "alias", "domain"),
    [
        *(
            ("office_home", alias, "real_world")
            for alias in ("Real World", "real_world", "Real_World", "R", "RealWorld")
        ),
        *(("pacs", alias, "art_painting") for alias in ("art", "A", "Art-Painting", "art painting")),
        *(("pacs", alias, domain) for alias, domain in (("P", "photo"), ("S", "sketch"), ("C", "cartoon"))),
        *(("vlcs", alias, "VOC2007") for alias in ("VOC", "V", "voc2007")),
        *(("vlcs", alias, "Caltech101") for alias in ("Caltech", "CALTECH", "C")),
        *(("vlcs", alias, domain) for alias, domain in (("S", "SUN09"), ("sun", "SUN09"), ("LABELME", "LabelMe"))),
        *(("terra_incognita", alias, "location_38") for alias in ("L38", "38", "location-38")),
        ("domainnet", "qdr", "quickdraw"),
        ("digits", "Typeset", "typeset"),
    ],
)
def test_the_aliases_people_use(dataset: str, alias: str, domain: str) -> None:
    assert canonical_domain(CATALOG[dataset], alias) == domain


def test_a_misspelt_domain_gets_the_near_match() -> None:
    with pytest.raises(UnknownName, match="skech") as caught:
        canonical_domain(CATALOG["pacs"], "skech")
    assert "'sketch'" in str(caught.value.hint)


@pytest.mark.parametrize(
    "spelling", ["PACS", "pacs", "Office-Home", "OfficeHomeDataset_10072016", "domain_net", "VLCS"]
)
def test_entries_are_found_under_any_spelling(spelling: str) -> None:
    assert entry_for(spelling) is not None


def test_unknown_sets_have_no_entry() -> None:
    assert entry_for("imagenet") is None
    assert entry_for("") is None


def test_one_letter_folders_are_no_domains() -> None:
    assert folder_domain(CATALOG["pacs"], "S") is None
    assert folder_domain(CATALOG["pacs"], "Sketch") == "sketch"


def test_the_catalog_does_not_import_torch() -> None:
    code = "import sys, dgdd_cli.data.catalog; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-1", "1"),
        ("+1", "1"),
        ("A-", "A"),
        ("A+", "A-"),
        ("1.5", "15"),
        ("1.5", "1-5"),
        ("_x", "x"),
        ("m\u00b2", "m2"),
    ],
)
def test_signs_points_and_digits_are_part_of_a_name(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Real World", "real_world"), ("art-painting", "Art  Painting"), ("caf\u00e9", "cafe\u0301"), (" dog", "Dog")],
)
def test_case_and_what_separates_words_are_not(one: str, other: str) -> None:
    assert fold(one) == fold(other)
