# %% [markdown]
# # Your own bigWig files
#
# **At the end you will have** a table of your tracks, a signal store made from it, the mistakes found that would have
# cost a night, and a choice of the tracks to hold out.
#
# A folder of bigWig files is all that is needed. Here the demo's stand for yours.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import pandas as pd
import pyBigWig

import avocado
from avocado.simulation.compendium import DemoSettings

folder = avocado.simulate("demo/compendium", settings=DemoSettings(sizes=(("chr20", 1_200_000),)))
files = sorted((folder / "bigwig").glob("*.bigwig"))
print(len(files), "files, such as", files[0].name)

# %% [markdown]
# ## Which signal?
#
# Best are p-value tracks: −log10 of the p-value with which the reads over a base are explained by the background,
# `*.pval.signal.bigwig` of Roadmap, "signal p-value" of ENCODE, or what `macs2 bdgcmp -m ppois` makes
# ([how](../own-data.md#p-value-tracks)). Fold change and counts work too, if all tracks are of one kind. A look into
# a file: p-value tracks have no negative values, and a mean that is far below their highest peaks.

# %%
with pyBigWig.open(str(files[0])) as file:
    print(file.chroms())
    print({kind: round(file.stats("chr20", type=kind)[0], 3) for kind in ("min", "mean", "max", "coverage")})

# %% [markdown]
# ## The table
#
# Columns `cell`, `assay` and `file`; one line for each pair, so that replicates are merged first. From names of files
# it is a line of pandas. Any other column (lineage, donor, sex, laboratory) travels along, and colours pictures.

# %%
names = [path.name.removesuffix(".pval.signal.bigwig").split("-", 1) for path in files]
table = pd.DataFrame(names, columns=["cell", "assay"]).assign(file=[str(path) for path in files])
table["lineage"] = table["cell"].str.rstrip("0123456789")
table.head(3)

# %% [markdown]
# ## Mistakes, before they cost anything
#
# All files are checked before any is read. Chromosomes of another assembly, a truncated file, a pair that is there
# twice: one line says what is wrong, with which file, and what to do.

# %%
try:
    avocado.ingest(table, "demo/wrong", assembly="hg38", regions=["chr20"])
except avocado.InputError as error:
    print(*str(error).split("; ")[:2], sep="\n")  # it names the first five files, and how many more

# %%
twice = pd.concat([table, table.head(1)])
try:
    avocado.ingest(twice, "demo/wrong", assembly=folder / "demo.chrom.sizes", regions=["chr20"])
except avocado.InputError as error:
    print(error)

# %% [markdown]
# ## The store
#
# `assembly` is `hg19`, `hg38`, or the chrom.sizes file of any other species. `regions`: for a whole genome `["pilot",
# "autosomes"]`; pilot regions are known for hg19 and hg38, and for others a BED file of a representative 1 %
# ([how](../own-data.md#other-species)). Cell types with fewer than 5 assays, and assays in fewer than 5 cell types,
# are left out (`min_assays`, `min_cells`).

# %%
store = avocado.ingest(table, "demo/own_store", assembly=folder / "demo.chrom.sizes", regions=["chr20"])
store.tracks[["cell", "assay", "mean", "max", "zeros", "warning"]].head()

# %% [markdown]
# ## Are the tracks alike?
#
# A p-value grows with the depth of sequencing, so that tracks of an assay should have similar means. One that stands
# out is worth a look: another kind of signal, another pipeline, a failed experiment.

# %%
assays = sorted(store.assays)
figure, ax = plt.subplots(figsize=(8, 3))
for row, assay in enumerate(assays):
    its = store.tracks[store.tracks["assay"] == assay]
    ax.plot(its["mean"], [row] * len(its), "o", color="#0072b2", alpha=0.6)
ax.set_yticks(range(len(assays)), assays)
ax.set(xlabel="mean of the track, arcsinh(−log10 p)", title="One dot for each track")
plt.show()

# %% [markdown]
# ## Is it enough?
#
# The model learns from overlap: how many pairs of cell types share assays? With fewer than some 15 tracks, or cell
# types that share fewer than three assays, expect average activity to be as good. It is measured, not guessed: every
# training prints the scores of held-out tracks ([is it better than average activity?](03_evaluation.md)).

# %%
measured = pd.crosstab(store.tracks["cell"], store.tracks["assay"])
shared = measured @ measured.T
shared

# %% [markdown]
# ## Which tracks are held out?
#
# Without a word, folds are drawn: `fold=0` to `4` hold out a fifth of the tracks each, spread over cell types and
# assays. To decide for yourself, add a column `fold` (0, 1, …; −1 always trains) or `split` (`train`, `val`, `test`)
# to the table, or name tracks: `avocado.train(store, "joint", "chr20", fold=None, hold_out=["stem1 H3K27ac"])`. For
# the final model, `fold=None` trains on all.
#
# In a terminal:
#
# ```bash
# avocado ingest table=tracks.tsv assembly=hg38 regions=pilot,autosomes out=my_store
# avocado genome store=my_store          # trains on all tracks, and writes what was never measured
# ```
#
# **Next:** [is it better than average activity?](03_evaluation.md)
