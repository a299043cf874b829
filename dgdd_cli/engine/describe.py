"""What a finished run says about itself: the facts of its bundle."""

from __future__ import annotations

from torch import Tensor

from dgdd_cli.bundle.manifest import BundleFacts, Device, Method, Normalise, Source, Synthesis, Validation
from dgdd_cli.bundle.read import domains_of
from dgdd_cli.config import Distillation
from dgdd_cli.data.hold_out import split_domains
from dgdd_cli.data.images import Images
from dgdd_cli.data.load import Located
from dgdd_cli.data.normalisation import normalisation_of
from dgdd_cli.data.validation import Split
from dgdd_cli.engine.distill import Distilled
from dgdd_cli.engine.identity import weights_of
from dgdd_cli.groups.find import NAMED, Groups
from dgdd_cli.methods.decoding import parameterisation_of
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.software import software
from dgdd_cli.synthesis.labels import Labels
from dgdd_cli.synthesis.parameterisation import stated


def bundle_tensors(result: Distilled) -> dict[str, Tensor]:
    """The tensors of the bundle of a result."""
    soft = {} if result.taught.soft is None else {"soft_labels": result.taught.soft.cpu()}
    tiles = result.domains.view(len(result.labels), -1)  # (N, f²)
    of_tiles = {"tile_domains": tiles} if tiles.shape[1] > 1 else {}
    return {**result.stored, "labels": result.labels, "domains": domains_of(tiles), **of_tiles, **soft}


def taught_facts(facts: BundleFacts, taught: Labels) -> BundleFacts:
    """The facts with the kind of the labels, which is stated for soft ones alone."""
    return facts if taught.soft is None else facts.model_copy(update={"label_kind": taught.kind})


def bundle_facts(
    context: Context,
    run: Distillation,
    located: Located,
    source: Images,
    *,
    whole: Images,
    groups: Groups | None = None,
    domains: Images | None = None,
    validation: Split | None = None,
) -> BundleFacts:
    """The facts of the bundle: nothing in it depends on the clock, the folder or the user.

    `source` is what is distilled of the `whole` sources, without those left out for `validation`; `groups` are those of
    the run's risk; `domains` is the source set under the pseudo-domains that it was distilled with, if any.
    """
    norm = normalisation_of(source)
    settings = run.recipe.model_dump(mode="json", exclude_none=True)
    if context.ranks.size > 1:
        settings["ranks"] = context.ranks.size  # their probes are averaged at every step
    if weights := weights_of(run):
        settings["probes"]["weights"] = weights
    if groups is not None:
        spec = settings["risk"]["groups"]
        settings["risk"]["groups"] = {
            "spec": spec if spec in NAMED or spec.startswith("kmeans:") else "file",  # never a path of somebody's
            "count": len(groups.names),
            "smallest": int(groups.sizes.min()),
            "sha256": groups.digest,
            **({} if groups.features is None else {"features": groups.features}),
        }
    if domains is not None and domains is not source:
        settings["domains"] = {"count": len(domains.domain_names), "fingerprint": domains.fingerprint()}
    counts = source.counts().T.tolist()  # (D, C)
    return BundleFacts(
        normalise=Normalise(mean=norm.mean, std=norm.std, origin=norm.origin),
        classes=source.class_names,
        domains=source.domain_names,
        target=split_domains(located, run.target)[1],
        synthesis=Synthesis.model_validate(stated(parameterisation_of(run.recipe, source.image_size))),
        codec=None if run.codec == "raw" else run.codec,
        method=Method(name=run.method, settings=settings),
        seed=run.seed,
        steps=run.recipe.optimiser.steps if run.recipe.optimiser else 0,
        validation=None
        if validation is None or run.validation is None
        else Validation(share=run.validation, images=len(validation.held), sha256=validation.digest()),
        software=software(),
        device=Device(type=context.device.type, name=context.chosen.name),
        source=Source(
            dataset=located.name,
            fingerprint=whole.fingerprint(),
            domain_fingerprints=whole.domain_fingerprints(),
            licence=source.licence,
            citation=located.entry.citation if located.entry else "not stated",
            counts={
                domain: dict(zip(source.class_names, row, strict=True))
                for domain, row in zip(source.domain_names, counts, strict=True)
            },
        ),
    )
