# %% [markdown]
# # Place or cell type? The pitfall, and how to check a split
#
# **At the end you will have** seen a model score well that knows nothing but the place, and know how to find out
# whether yours does, too.
#
# A model that is tested in a new cell type, on places that it was trained on, can do well by remembering what each
# place usually is ([Schreiber et al. 2020](https://doi.org/10.1186/s13059-020-02177-y)). `check_split` says whether
# that can be so for your split, and what it is worth.

# %%
# %matplotlib inline
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesClassifier

import avocado
from avocado.simulation.compendium import DemoSettings

demo = avocado.simulate("demo/compendium", settings=DemoSettings(sizes=(("chr20", 1_200_000),)))

# %% [markdown]
# ## Examples
#
# Is a window of 1 kb transcribed or regulatory in a cell type? The truth of the simulation has the answer for nine
# cell types. We train on six and test on the other three, a split that many papers use.

# %%
truth = np.load(demo / "truth.npz")
names = truth["state_names"].tolist()
active = [names.index(name) for name in ("promoter", "enhancer", "transcribed", "bivalent")]
windows = np.arange(0, 1_199_000, 2000)
examples = pd.concat(
    pd.DataFrame({
        "chrom": "chr20", "start": windows, "end": windows + 1000, "cell": cell,
        "label": [int(np.isin(states[at // 25 : at // 25 + 40], active).mean() > 0.5) for at in windows],
    })
    for cell, states in zip(truth["cells"], truth["states.chr20"], strict=True)
).reset_index(drop=True)  # fmt: skip
tested = ["blood3", "brain3", "stem3"]
examples["split"] = np.where(examples["cell"].isin(tested), "test", "train")
examples.groupby("split")["label"].agg(["size", "mean"]).round(3)

# %% [markdown]
# ## A model that knows nothing
#
# Its features are 32 random numbers for each place, the same in all cell types: no biology at all.

# %%
random = np.random.default_rng(0)
of_place = dict(zip(windows, random.normal(size=(len(windows), 32)), strict=True))
noise = np.stack([of_place[start] for start in examples["start"]])
train = (examples["split"] == "train").to_numpy()
trees = ExtraTreesClassifier(100, random_state=0).fit(noise[train], examples["label"][train])
predictions = trees.predict_proba(noise)[:, 1]

# %%
found = avocado.check_split(examples, {"noise": predictions}, features=noise)
print(textwrap.fill(found.verdict, 100))

# %%
found.scores.round(3)

# %% [markdown]
# It scores far above the base rate, and no better than **average activity**, the mean label of the training cell
# types at the place. A paper that reports only the first of these numbers would have us believe in a model of random
# numbers. `within_loci` is not fooled: of two test cell types with different labels at a place, how often is the
# right one ranked higher? Whoever knows only the place has 0.5.
#
# ## The same model, tested on places that are new

# %%
hybrid = examples.copy()
new_place = hybrid["start"] >= 900_000
hybrid["split"] = np.where(train & ~new_place, "train", np.where(~train & new_place, "test", "none"))
rows = (hybrid["split"] == "train").to_numpy()
trees = ExtraTreesClassifier(100, random_state=0).fit(noise[rows], hybrid["label"][rows])
honest = avocado.check_split(hybrid, {"noise": trees.predict_proba(noise)[:, 1]})
print(textwrap.fill(honest.verdict, 100))

# %%
values = {"new cell types, old places": found.scores, "new cell types, new places": honest.scores}
figure, ax = plt.subplots(figsize=(7, 2.8))
styles = {"base rate": ("#8c8c8c", "s"), "average activity": ("#c68600", "D"), "noise": ("#0072b2", "o")}
for name, (color, marker) in styles.items():
    at = [its.set_index("predictor")["value"].get(name) for its in values.values()]
    ax.plot(at, list(values), marker, color=color, markersize=9, label=name)
ax.set(xlabel="average precision", ylim=(-0.5, 1.5), title="A model of random numbers")
ax.legend(frameon=False, bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# ## What to do
#
# - Print average activity beside every score; what beats it knows something of the cell type.
# - Hold out places as well as cell types, or score within places.
# - Look at places where cell types differ ([strata](03_evaluation.md#where-does-it-know-more)).
#
# In a terminal: `avocado check-split table=examples.tsv predictions=model.npy out=split.html`. [Place or cell
# type?](../pitfall.md) has the study on public labels.
