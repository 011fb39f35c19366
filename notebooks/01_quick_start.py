# %% [markdown]
# # Quick start: from bigWig files to an imputed track
#
# **At the end you will have** a trained model, the scores of tracks that it never saw, a picture of them, and a
# bigWig file of an experiment that nobody did. It takes about a minute.
#
# The data are simulated: a small genome with nine cell types and seven assays, of which 45 of the 63 pairs are
# "measured", as real bigWig files of −log10 p. Real data differ in nothing but the paths ([your own bigWig
# files](02_own_data.md)).

# %%
# %matplotlib inline
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyBigWig

import avocado
from avocado.simulation.compendium import DemoSettings

demo = avocado.simulate("demo/compendium", settings=DemoSettings(sizes=(("chr20", 1_200_000),)))
tracks = pd.read_csv(demo / "compendium.tsv", sep="\t")
tracks.head()

# %% [markdown]
# A line for each track: cell type, assay, file; further columns, here the lineage, travel along. Which pairs are
# there, and which could be imputed?

# %%
tracks.assign(measured="■").pivot(index="cell", columns="assay", values="measured").fillna("·")

# %% [markdown]
# ## Tracks in
#
# `ingest` reads every file once: the mean over each 25-bp bin, then arcsinh, which keeps strong peaks from deciding
# everything. What comes out is a *signal store*; asked for again, it is opened.

# %%
store = avocado.ingest(demo / "compendium.tsv", "demo/store", demo / "demo.chrom.sizes", ["chr20"])
print(f"{len(store.tracks)} tracks, {store.region('chr20').n_bins:,} bins of chr20")

# %% [markdown]
# ## Training
#
# `stage="joint"` learns everything on one chromosome. (For a whole genome, `pilot` learns what all chromosomes share,
# and `genome` adds one chromosome after the other.) A fifth of the tracks, `fold=0`, is held out: no step of the
# training sees them. `min_steps=300` is for this notebook; the default takes eight times as many, and is better.

# %%
run = avocado.train(store, "joint", "chr20", fold=0, min_steps=300, runs="demo/runs")
model = avocado.load_model(run.model)
print(model)

# %% [markdown]
# ## Is it any good?
#
# Every held-out track is scored, beside **average activity**: the mean of the assay over the other cell types, which
# knows nothing about the cell type and is hard to beat. `skill` is 1 − MSE / MSE of average activity: above 0 the
# model knows more.

# %%
shown = ["cell", "assay", "method", "mse", "pearson", "skill"]
run.scores[shown].round(3)

# %% [markdown]
# What it looks like, for held-out tracks at a place where cell types differ:

# %%
avocado.picture(model)

# %% [markdown]
# ## A track that was never measured
#
# Any pair can be imputed, over any place that the model has factors of. Values are arcsinh(−log10 p):

# %%
cell, assay = model.unmeasured()[0]
signal = avocado.impute(model, (cell, assay), "chr20:200,001-300,000")

figure, ax = plt.subplots(figsize=(9, 2))
ax.fill_between(200_000 + 25 * np.arange(len(signal)), signal, step="post", color="#009e73")
ax.xaxis.set_major_formatter("{x:,.0f}")
ax.set(title=f"{assay} in {cell}: imputed, never measured", xlabel="chr20 (bp)", ylabel="arcsinh(−log10 p)")
plt.show()

# %% [markdown]
# And as a bigWig file of −log10 p, for a genome browser or for deepTools:

# %%
out = Path(f"demo/{cell}-{assay}.bw")
avocado.write_tracks(model, {(cell, assay): out})
with pyBigWig.open(str(out)) as file:
    print(out, file.chroms(), f"highest −log10 p: {file.stats('chr20', type='max')[0]:.1f}")

# %% [markdown]
# In a terminal the same are four commands: `avocado simulate`, `avocado ingest`, `avocado train`, `avocado impute`;
# each explains itself with `--help`.
#
# **Next:** [your own bigWig files](02_own_data.md), or [is it better than average activity?](03_evaluation.md)
