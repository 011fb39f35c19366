"""Integrated gradients by part: exact where the answer is known by hand, and the same as Captum's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import CHR20, PILOT, STATES, TINY
from toy_model import save

from avocado.data.windows import Window
from avocado.errors import InputError
from avocado.inference.impute import impute
from avocado.latent import attribution
from avocado.latent.attribution import COMPLETE, PARTS, attribute, genome_means
from avocado.model.directory import load_model
from avocado.model.network import split_block
from avocado.utils.hardware import Hardware

EXACT = Hardware("cpu", "float32")
CONFIGS = {"linear": replace(TINY, layers=0), "paper": TINY, "two layers": replace(TINY, layers=2), "states": STATES}


@pytest.fixture(params=CONFIGS)
def model(request, tiny_store, tmp_path):
    save(tmp_path / "model", CONFIGS[request.param], store=tiny_store)
    found = load_model(tmp_path / "model", tiny_store, baseline=False)
    with torch.no_grad():  # of the order of 1, so that ReLUs are on for some bins and off for others
        generator = torch.Generator().manual_seed(1)
        for parameter in found.network.parameters():
            parameter.normal_(0, 0.7, generator=generator)
        if found.network.config.kind == "states":
            found.network.expected[..., 0], found.network.expected[..., 1] = 0.5, 1.5
    for region in (PILOT, CHR20):
        found.genome(region.name)
    return found


def joined(model, region="chr20", reference="zeros", pair=("liver", "RNA")):
    found = [its for window in model.windows(region) for its in attribute(model, *pair, window, reference)]
    segments = [segment for its in found for segment in its.segments]
    arrays = (np.concatenate([getattr(its, name) for its in found]) for name in ("parts", "signal", "reference"))
    return segments, *arrays


@pytest.mark.parametrize("reference", ["zeros", "mean"])
@pytest.mark.parametrize("region", ["pilot", "chr20", "chr20:10,001-20,000"])
def test_parts_sum_up_to_the_signal(model, region, reference):
    segments, parts, signal, start = joined(model, region, reference)
    assert sum(segment.n_bins for segment in segments) == len(parts)
    np.testing.assert_allclose(signal, impute(model, ("liver", "RNA"), region, EXACT), rtol=1e-4, atol=1e-5)
    error = np.abs(parts.sum(1) - (signal - start)).sum()
    assert error <= COMPLETE * np.abs(signal - start).sum()
    assert parts.shape[1] == len(PARTS)


@pytest.mark.parametrize("model", ["linear"], indirect=True)
def test_of_a_linear_model_parts_are_products(model):
    """The attribution of a linear model is weight times factor, whatever the path."""
    _, parts, _, start = joined(model)
    network, rows = model.network, model.genome("chr20")
    sizes = [network.cell_factors.shape[1], network.assay_factors.shape[1], *network.config.scales]
    weights = network.output.weight[0].detach().split(sizes)
    cell, assay = model.pair("liver", "RNA")
    fine, middle, coarse = split_block(rows, network.config)
    expected = np.stack([
        np.full(CHR20.n_bins, (network.cell_factors[cell] @ weights[0]).item()),
        np.full(CHR20.n_bins, (network.assay_factors[assay] @ weights[1]).item()),
        (fine @ weights[2]).flatten().numpy()[: CHR20.n_bins],
        (middle @ weights[3]).repeat_interleave(10, dim=1).flatten().numpy()[: CHR20.n_bins],
        (coarse @ weights[4]).repeat_interleave(200, dim=1).flatten().numpy()[: CHR20.n_bins],
    ], axis=1)  # fmt: skip
    np.testing.assert_allclose(parts, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(start, network.output.bias.item(), rtol=1e-5)


def test_as_captum_has_it(model):
    """The same numbers from a general program, to which every bin is a row of concatenated factors."""
    captum = pytest.importorskip("captum.attr")
    from avocado.latent.attribution import _decoder

    cell, assay = model.pair("B cell", "DNase")
    network, rows, n = model.network, model.genome("chr20")[:1], 30
    fine, middle, coarse = split_block(rows, network.config)
    at = (
        network.cell_factors[cell].detach().expand(n, -1),
        network.assay_factors[assay].detach().expand(n, -1),
        fine[0, :n], middle.repeat_interleave(10, 1)[0, :n], coarse.repeat_interleave(200, 1)[0, :n],
    )  # fmt: skip
    decoder = _decoder(network, cell, assay)

    def forward(*parts):  # every row a block of its own, whose bins are all alike
        return decoder([part[:, None].expand(-1, n, -1) for part, n in zip(parts, (1, 1, 200, 20, 1), strict=True)])[
            :, 0
        ]

    gradients = captum.IntegratedGradients(forward).attribute(at, n_steps=500, internal_batch_size=1000)
    expected = torch.stack([part.sum(1) for part in gradients], dim=1).detach().numpy()
    found = next(iter(attribute(model, "B cell", "DNase", Window("chr20", CHR20))))
    np.testing.assert_allclose(found.parts[:n], expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize("region", [PILOT, CHR20])
def test_mean_factors_are_those_of_the_bins(model, region):
    """Of the bins that are there: blocks may be padded."""
    assert not region.mask.all()
    fine, middle, coarse = split_block(model.genome(region.name), model.network.config)
    of_bins = (fine, middle.repeat_interleave(10, 1), coarse.repeat_interleave(200, 1))
    for found, part in zip(genome_means(model, region.name), of_bins, strict=True):
        np.testing.assert_allclose(found[0, 0], part.numpy()[region.mask].mean(axis=0), rtol=1e-5, atol=1e-6)


def test_means_that_are_given_are_not_read_again(model, monkeypatch):
    window, means = Window("chr20", CHR20), genome_means(model, "chr20")
    expected = next(attribute(model, "liver", "RNA", window, "mean"))
    monkeypatch.setattr(attribution, "genome_means", None)
    found = next(attribute(model, "liver", "RNA", window, "mean", means))
    np.testing.assert_array_equal(found.parts, expected.parts)


def test_what_is_refused(model):
    window = Window("chr20", CHR20)
    with pytest.raises(InputError, match="reference=ones: there is zeros, mean"):
        next(attribute(model, "liver", "RNA", window, "ones"))
    with pytest.raises(InputError, match="knows no cell type 'lung'"):
        next(attribute(model, "lung", "RNA", window))
