# %% [markdown]
# # Is it better than average activity?
#
# **At the end you will have** scores of held-out tracks with what they mean, the answer to where in the genome the
# model knows more than the average of the other cell types, and the report of a run as one page for the browser.
#
# The demo model of the [quick start](01_quick_start.md); it is trained now if it is not there.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
from IPython.display import Image

import avocado
from avocado.simulation.compendium import DemoSettings

demo = avocado.simulate("demo/compendium", settings=DemoSettings(sizes=(("chr20", 1_200_000),)))
store = avocado.ingest(demo / "compendium.tsv", "demo/store", demo / "demo.chrom.sizes", ["chr20"])
run = avocado.train(store, "joint", "chr20", min_steps=300, runs="demo/runs")
model = avocado.load_model(run.model)
model.tracks["role"].value_counts()

# %% [markdown]
# ## Scores, and why there are several
#
# | measure | question |
# | --- | --- |
# | MSE | how far off, over all bins? Most bins are background |
# | MSE1obs | in the 1 % of bins with most observed signal: are peaks found? |
# | MSE1imp | in the 1 % with most imputed signal: are its peaks real? |
# | Pearson, Spearman | does it rise and fall at the right places? |
# | skill | 1 − MSE / MSE of average activity: above 0, better than it |
#
# All are of arcsinh(−log10 p). None stands alone: the mean of the other cell types, *average activity*, is beside
# every one.

# %%
scores = avocado.score(model)
means = scores[scores["cell"] == "mean"].set_index("method")
means[["mse", "mse_1obs", "mse_1imp", "pearson", "spearman", "skill"]].round(3)

# %%
tracks = scores[(scores["cell"] != "mean") & (scores["method"] == "Avocado")].sort_values("skill")
figure, ax = plt.subplots(figsize=(8, 3))
better = tracks["skill"] > 0
ax.barh(tracks["cell"] + " " + tracks["assay"], tracks["skill"], color=better.map({True: "#009e73", False: "#c68600"}))
ax.axvline(0, color="#3b3b3b", linewidth=1)
ax.set(xlabel="skill: 0 is average activity, 1 is perfect", title="Held-out tracks")
plt.show()

# %% [markdown]
# Nine tracks of a small simulated chromosome: a difference of a few hundredths says nothing. The report below has
# intervals, and `python -m experiments.table1` compares all methods on all folds with tests.
#
# ## Where does it know more?
#
# Where all cell types agree, the average is right, and whoever remembers places scores well. What matters is where
# they differ. Bins are parted by how much the assay's training tracks vary there:

# %%
strata = avocado.stratify(model, "chr20")
mean = strata[(strata["cell"] == "mean") & (strata["method"] == "Avocado")].set_index("stratum")
mean[["bins", "variability", "mse", "skill"]].round(3)

# %% [markdown]
# Stratum 0 is where all training tracks have the same signal. The average is then exactly right wherever the held-out
# track has it, too, as in what no read can be mapped to: any other number is infinitely worse, however small its error.

# %%
mean = mean[mean["variability"] > 0]
figure, ax = plt.subplots(figsize=(6, 2.6))
ax.plot(mean.index, mean["skill"], "o-", color="#009e73", label="Avocado")
ax.axhline(0, color="#c68600", linestyle="--", label="average activity")
ax.set(xlabel="bins, by standard deviation between cell types", ylabel="skill", title="Low to high variability")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Look at it
#
# Numbers hide what a picture shows: is a peak that only this cell type has there? Any place
# (`"chr20:400,001-460,000"`), any held-out tracks; of a whole region the most telling window is drawn:

# %%
pair = next(its for its in zip(tracks["cell"], tracks["assay"], strict=True) if its[1] == "H3K27ac")
avocado.picture(model, "chr20", [pair], width=60_000)

# %% [markdown]
# ## The report
#
# Every run leaves pictures, tables and `report.html`: scores with intervals, learning curve, places to zoom into,
# factors, time and memory, on one page that opens without a network.

# %%
print(run.directory / "report.html")
print(*sorted(path.name for path in run.directory.iterdir() if not path.name.startswith(".")))

# %%
Image(run.directory / "scores.png", width=700)

# %% [markdown]
# In a terminal: `avocado score model=… out=scores strata=true`, with `genes=`, `enhancers=`, `peaks=` for
# scores at places that matter.
#
# **Next:** [the latent representation](04_latent.md), or [place or cell type?](07_pitfall.md)
