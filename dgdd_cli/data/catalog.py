"""What is known of each dataset: names, aliases, default target, normalisation, licence, and where a copy is had.

Class lists come from the catalog, or from all domains together, never from one domain's folders: a class that one
domain lacks must not shift the others' labels.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from dgdd_cli.errors import UnknownName

Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One dataset; names are canonical and in index order. Empty `class_names`: taken from the folders."""

    name: str
    title: str
    domain_names: tuple[str, ...]
    class_names: tuple[str, ...]
    default_target: str
    aliases: Mapping[str, str]  # folded alias -> canonical domain name
    licence: str
    citation: str
    obtain: str  # where a copy is had and how the folder must look
    folder_names: tuple[str, ...] = ()  # as users have them on disk, compared folded
    mean: Colour = (0.485, 0.456, 0.406)
    std: Colour = (0.229, 0.224, 0.225)
    normalisation_origin: str = "ImageNet"
    hub: str | None = None  # Hugging Face dataset with image, domain and label columns
    default_image_size: int = field(default=32)
    mirrors: bool = True  # whether a mirrored image still shows its class


def fold(name: str) -> str:
    """Lower case, every run of spaces, hyphens and underscores inside the name as one underscore; Unicode NFC.

    Signs at either end stay, and so do points: -1 is not 1, A- is not A, and 1.5 is not 1-5.
    """
    plain = unicodedata.normalize("NFC", name).casefold().strip()
    return re.sub(r"(?<=[^\s\-_])[\s\-_]+(?=[^\s\-_])", "_", plain)


def _aliases(table: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType({fold(alias): name for name, text in table.items() for alias in [name, *text.split("|")]})


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _layout(folder: str, domains: str, example: str) -> str:
    return f"The folder must look like DIR/{folder}/<domain>/<class>/<image> with the domains {domains}: {example}"


_DIGITS = CatalogEntry(
    name="digits",
    title="Embedded digits: handwriting scanned, blended and outlined, and typeset",
    domain_names=("scan", "blend", "outline", "typeset"),
    class_names=tuple("0123456789"),
    default_target="blend",
    aliases=_aliases(
        {"scan": "s|scans|handwritten", "blend": "b|blended", "outline": "o|outlines|edges", "typeset": "t|fonts|font"}
    ),
    licence="CC BY 4.0 (UCI optical digits), CC BY (photographs), the fonts' own free licences",
    citation="Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998; drawn by dgdd",
    obtain="Nothing to get: it is drawn on the spot from what scikit-learn and matplotlib ship.",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    normalisation_origin="0.5/0.5, as usual for digits",
    mirrors=False,
)

_PACS = CatalogEntry(
    name="pacs",
    title="PACS: photo, art painting, cartoon, sketch; 9,991 images of 7 classes",
    domain_names=("art_painting", "cartoon", "photo", "sketch"),
    class_names=("dog", "elephant", "giraffe", "guitar", "horse", "house", "person"),
    default_target="sketch",
    aliases=_aliases(
        {
            "art_painting": "a|art|painting|paintings|artpainting",
            "cartoon": "c|cartoons",
            "photo": "p|photos|photograph",
            "sketch": "s|sketches",
        }
    ),
    licence="not stated by the authors; research use",
    citation="Li, Yang, Song and Hospedales, Deeper, Broader and Artier Domain Generalization, ICCV 2017",
    obtain="Hugging Face: flwrlabs/pacs, fetched with pip install 'dgdd[hub]'; or the authors' copy. "
    + _layout("pacs", "art_painting, cartoon, photo, sketch", "DIR/pacs/photo/dog/056_0001.jpg"),
    folder_names=("pacs", "kfold", "pacs_dataset", "pacs_data"),
    hub="flwrlabs/pacs",
)

_VLCS = CatalogEntry(
    name="vlcs",
    title="VLCS: Caltech101, LabelMe, SUN09, VOC2007; 10,729 photographs of 5 classes",
    domain_names=("Caltech101", "LabelMe", "SUN09", "VOC2007"),
    class_names=("bird", "car", "chair", "dog", "person"),
    default_target="LabelMe",
    aliases=_aliases(
        {
            "Caltech101": "c|caltech|caltech_101",
            "LabelMe": "l|label_me",
            "SUN09": "s|sun|sun_09",
            "VOC2007": "v|voc|voc_2007|pascal|pascal_voc",
        }
    ),
    licence="that of the four original sets; research use",
    citation="Fang, Xu and Rockmore, Unbiased Metric Learning, ICCV 2013",
    obtain="Copies circulate as VLCS.tar.gz, for one in the form DomainBed uses. "
    + _layout("VLCS", "Caltech101, LabelMe, SUN09, VOC2007", "DIR/VLCS/SUN09/chair/img_0001.jpg"),
    folder_names=("vlcs", "vlcs_dataset", "vlcs_data"),
)

_OFFICE_HOME = CatalogEntry(
    name="office_home",
    title="Office-Home: art, clip art, product, real world; 15,588 images of 65 classes",
    domain_names=("art", "clipart", "product", "real_world"),
    class_names=_words(
        "Alarm_Clock Backpack Batteries Bed Bike Bottle Bucket Calculator Calendar Candles Chair Clipboards Computer "
        "Couch Curtains Desk_Lamp Drill Eraser Exit_Sign Fan File_Cabinet Flipflops Flowers Folder Fork Glasses "
        "Hammer Helmet Kettle Keyboard Knives Lamp_Shade Laptop Marker Monitor Mop Mouse Mug Notebook Oven Pan "
        "Paper_Clip Pen Pencil Postit_Notes Printer Push_Pin Radio Refrigerator Ruler Scissors Screwdriver Shelf "
        "Sink Sneakers Soda Speaker Spoon TV Table Telephone ToothBrush Toys Trash_Can Webcam"
    ),
    default_target="clipart",
    aliases=_aliases(
        {"art": "a", "clipart": "c|clip_art", "product": "p|products", "real_world": "r|real|realworld|rw"}
    ),
    licence="the authors allow non-commercial research; the images belong to their owners",
    citation="Venkateswara et al., Deep Hashing Network for Unsupervised Domain Adaptation, CVPR 2017",
    obtain="From the authors' page (hemanthdv.github.io/officehome-dataset), after accepting their terms. "
    + _layout("office_home", "Art, Clipart, Product, Real World", "DIR/office_home/Real World/Bike/00001.jpg"),
    folder_names=("office_home", "officehome", "officehomedataset_10072016", "officehomedataset", "office_home_dg"),
)

_TERRA = CatalogEntry(
    name="terra_incognita",
    title="Terra Incognita: camera traps at four places; 10 classes",
    domain_names=("location_38", "location_43", "location_46", "location_100"),
    class_names=_words("bird bobcat cat coyote dog empty opossum rabbit raccoon squirrel"),
    default_target="location_46",
    aliases=_aliases({f"location_{n}": f"l{n}|{n}|loc_{n}|location{n}" for n in (38, 43, 46, 100)}),
    licence="Community Data License Agreement, permissive, as stated by LILA for Caltech Camera Traps",
    citation="Beery, Van Horn and Perona, Recognition in Terra Incognita, ECCV 2018",
    obtain="From LILA (lila.science, Caltech Camera Traps), sorted into folders as DomainBed's download script does. "
    + _layout(
        "terra_incognita",
        "location_38, location_43, location_46, location_100",
        "DIR/terra_incognita/location_38/coyote/0001.jpg",
    ),
    folder_names=("terra_incognita", "terraincognita", "terra"),
)

_DOMAINNET = CatalogEntry(
    name="domainnet",
    title="DomainNet: six domains, 345 classes, about 587,000 images",
    domain_names=("clipart", "infograph", "painting", "quickdraw", "real", "sketch"),
    class_names=(),
    default_target="quickdraw",
    aliases=_aliases(
        {
            "clipart": "c|clp|clip_art",
            "infograph": "i|inf|info|infographs",
            "painting": "p|pnt|paintings",
            "quickdraw": "q|qdr|quick_draw",
            "real": "r|rel|photo",
            "sketch": "s|skt|sketches",
        }
    ),
    licence="the authors' fair-use notice: non-commercial research",
    citation="Peng et al., Moment Matching for Multi-Source Domain Adaptation, ICCV 2019",
    obtain="From the authors' page (ai.bu.edu/M3SDA), one archive a domain. "
    + _layout(
        "domain_net", "clipart, infograph, painting, quickdraw, real, sketch", "DIR/domain_net/real/zebra/real_1.jpg"
    ),
    folder_names=("domainnet", "domain_net"),
)

CATALOG: Mapping[str, CatalogEntry] = MappingProxyType(
    {entry.name: entry for entry in (_DIGITS, _PACS, _VLCS, _OFFICE_HOME, _TERRA, _DOMAINNET)}
)

_SYNONYMS = {fold(other): entry.name for entry in CATALOG.values() for other in (entry.name, *entry.folder_names)}


def dataset_names() -> tuple[str, ...]:
    """The catalog's names, the embedded set first."""
    return tuple(CATALOG)


def entry_for(name: str) -> CatalogEntry | None:
    """The entry of a dataset under any of its spellings (`PACS`, `Office-Home`), or None."""
    return CATALOG.get(_SYNONYMS.get(fold(name), ""))


def canonical_domain(entry: CatalogEntry, text: str) -> str:
    """The canonical name of a domain given by name or alias (`Real World`, `R`).

    Raises UnknownName with the near matches.
    """
    found = entry.aliases.get(fold(text))
    if found is None:
        raise UnknownName(f"domain of {entry.name}", text, entry.domain_names)
    return found


def folder_domain(entry: CatalogEntry, folder: str) -> str | None:
    """The domain that a folder of this name holds, or None; one-letter aliases do not count on disk."""
    folded = fold(folder)
    return entry.aliases.get(folded) if len(folded) > 1 else None
