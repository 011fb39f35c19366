# %% [markdown]
# # The latent representation
#
# **At the end you will have** factors of cell types, assays and places of the genome as tables, a projection of
# promoters and enhancers, and an imputation taken apart into what each part of the model adds.
#
# Imputing is how the model learns; its factors are what it has learned, and can be used without it. The demo model
# again:

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

import avocado
from avocado.simulation.compendium import DemoSettings

demo = avocado.simulate("demo/compendium", settings=DemoSettings(sizes=(("chr20", 1_200_000),)))
store = avocado.ingest(demo / "compendium.tsv", "demo/store", demo / "demo.chrom.sizes", ["chr20"])
run = avocado.train(store, "joint", "chr20", min_steps=300, runs="demo/runs")
model = avocado.load_model(run.model)

# %% [markdown]
# ## Cell types
#
# Cell-type factors say how much of each of the model's programs a cell type has. A row for each cell type, and so for
# assays (`model.assay_factors`):

# %%
model.cell_factors.round(2)

# %% [markdown]
# Few numbers that nobody has named: read them through what the model makes of them. Here all assays are imputed in
# all cell types, so that cell types can be compared that share no assay. What all have in common is taken out;
# relatives (blood, brain, stem) should then be alike.

# %%
pairs = [(cell, assay) for cell in model.cells for assay in model.assays]
signal = avocado.impute(model, pairs, "chr20").reshape(-1, len(model.cells), len(model.assays))
own = signal - signal.mean(axis=0)
own = (own - own.mean(axis=1, keepdims=True)).transpose(1, 0, 2).reshape(len(model.cells), -1)
alike = np.corrcoef(own)

figure, ax = plt.subplots(figsize=(4.6, 3.8))
image = ax.imshow(np.where(np.eye(len(alike)) > 0, np.nan, alike), cmap="cividis")
ax.set_xticks(range(len(model.cells)), model.cells, rotation=90)
ax.set_yticks(range(len(model.cells)), model.cells)
ax.set_title("Correlation of imputed cell types")
figure.colorbar(image)
plt.show()

# %%
np.fill_diagonal(alike, -1)
nearest = [(cell, model.cells[row.argmax()]) for cell, row in zip(model.cells, alike, strict=True)]
kin = sum(one[:-1] == other[:-1] for one, other in nearest)
print(f"the most similar cell type is of the same lineage for {kin} of {len(nearest)}, by chance for a quarter")

# %% [markdown]
# ## Places of the genome
#
# Genome factors are at three scales: of every 25-bp bin, 250 bp and 5 kbp. They are the same for all cell types, and
# hold what 36 tracks said about the place.

# %%
factors = model.genome_factors("chr20")
print(factors.bp25.shape, factors.bp250.shape, factors.bp5k.shape)
avocado.embed(model, "chr20:200,001-200,100").iloc[:, :6].round(2)

# %% [markdown]
# Or means over places of your own, in a data frame or a BED file. Here promoters and enhancers, ± 250 bp, as in Fig.
# 3 of the paper:

# %%
genes = pd.read_csv(demo / "expression.tsv", sep="\t").drop_duplicates("gene")
columns = ["chrom", "start", "end"]
enhancers = pd.read_csv(demo / "enhancers.bed.gz", sep="\t", header=None, usecols=[0, 1, 2], names=columns)
places = pd.concat([genes[columns].assign(kind="promoter"), enhancers.assign(kind="enhancer")])
table = avocado.embed(model, places, flank=250)
values = table.filter(regex="bp_")
print(table["kind"].value_counts().to_dict(), values.shape[1], "factors each")

# %%
at = PCA(2).fit_transform((values - values.mean()) / values.std())
figure, ax = plt.subplots(figsize=(6, 4))
for kind, color, marker in (("promoter", "#0072b2", "o"), ("enhancer", "#c68600", "^")):
    mine = (table["kind"] == kind).to_numpy()
    ax.plot(*at[mine].T, marker, color=color, markersize=5, alpha=0.8, label=kind)
ax.set(xlabel="first principal component", ylabel="second principal component", title="Places, by their genome factors")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# How well do they come apart? Of each place, what are its five nearest neighbours?

# %%
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

neighbours = make_pipeline(StandardScaler(), KNeighborsClassifier(5))
right = cross_val_score(neighbours, values, table["kind"], cv=5).mean()
print(f"right: {right:.2f}; by the larger group alone: {table['kind'].value_counts(normalize=True).max():.2f}")

# %% [markdown]
# ## Where does a peak come from?
#
# Integrated gradients divide an imputation among cell-type factors, assay factors and the genome factors of each
# scale (Fig. 6 of the paper). The parts add up to what the factorization imputes, less what it makes of nothing.

# %%
start, end = 400_000, 440_000
parts = avocado.attribute(model, ("stem1", "H3K4me3"), f"chr20:{start + 1}-{end}")
names = ["cell", "assay", "25bp", "250bp", "5kbp"]
figure, axes = plt.subplots(len(names), 1, figsize=(9, 5), sharex=True, sharey=True)
for ax, name in zip(axes, names, strict=True):
    ax.fill_between(parts["start"], parts[name], step="post", color="#0072b2")
    ax.axhline(0, color="#8c8c8c", linewidth=0.6)
    ax.set_ylabel(name)
axes[0].set_title("H3K4me3 in stem1: what each part adds, arcsinh(−log10 p)")
axes[-1].xaxis.set_major_formatter("{x:,.0f}")
axes[-1].set_xlabel("chr20 (bp)")
plt.show()

# %% [markdown]
# In a terminal: `avocado embed` (Parquet, Zarr, AnnData, …) and `avocado attribute` (bigWig files). [Latent
# factors](../latent.md) has what was measured on real data.
#
# **Next:** [downstream tasks](05_downstream.md)
