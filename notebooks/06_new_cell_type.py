# %% [markdown]
# # A new cell type for a trained model
#
# **At the end you will have** a model that knows a cell type it was not trained on, from two of its tracks, in
# seconds, and scores of the assays that were imputed for it.
#
# Genome factors are what many cell types say about a place. A new cell type only needs factors of its own; everything
# else of the model stays as it is, so that nothing that was published with it changes.

# %%
# %matplotlib inline
import pandas as pd

import avocado
from avocado.simulation.compendium import DemoSettings

demo = avocado.simulate("demo/compendium", settings=DemoSettings(sizes=(("chr20", 1_200_000),)))
tracks = pd.read_csv(demo / "compendium.tsv", sep="\t")
tracks["file"] = [str(demo / name) for name in tracks["file"]]

# %% [markdown]
# ## A model without it
#
# One of the nine cell types, `brain3`, is kept away from the model. All tracks of the others train.

# %%
new = tracks[tracks["cell"] == "brain3"].copy()
known = tracks[tracks["cell"] != "brain3"]
store = avocado.ingest(known, "demo/without", demo / "demo.chrom.sizes", ["chr20"], min_assays=1, min_cells=1)
run = avocado.train(store, "joint", "chr20", fold=None, min_steps=200, runs="demo/runs_without")
model = avocado.load_model(run.model)
print(model)

# %% [markdown]
# ## Two tracks of the new cell type
#
# Suppose that we have done two experiments: the first tracks in the table below. The others are there to judge by:
# what has `test` in a column `split` is kept for the score, and nothing learns from it.

# %%
measured = ["DNase", "H3K4me3"]
new["split"] = ["train" if assay in measured else "test" for assay in new["assay"]]
new = new.sort_values("split", ascending=False)
new[["cell", "assay", "split"]]

# %%
extended = avocado.transfer(model, new, "demo/with_brain3", store=store)
print(extended)

# %% [markdown]
# ## What it imputes
#
# The assays that were not measured in `brain3`, beside average activity, the mean of the assay over the other cell
# types:

# %%
scores = avocado.score(extended)
scores[["cell", "assay", "method", "mse", "pearson", "skill"]].round(3)

# %%
avocado.picture(extended)

# %% [markdown]
# Any assay, over any place, as for all other cell types; and of other cell types exactly what the model said before:

# %%
place = "chr20:200,001-300,000"
signal = avocado.impute(extended, ("brain3", "H3K27ac"), place)
same = avocado.impute(extended, ("stem1", "DNase"), place) == avocado.impute(model, ("stem1", "DNase"), place)
print(f"{len(signal):,} bins of brain3 H3K27ac; stem1 DNase is the same in {same.mean():.0%} of the bins")

# %% [markdown]
# In a terminal: `python train.py stage=transfer model=runs/model/fold0/seed0 table=new.tsv`.
#
# **Next:** [place or cell type?](07_pitfall.md)
