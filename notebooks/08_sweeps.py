# %% [markdown]
# # Sweeps, and Weights & Biases
#
# **At the end you will have** searched hyperparameters without touching a held-out track, trained the winner, and
# logged a run to Weights & Biases, here without an account and without a network.
#
# These are commands rather than functions, since they go on for hours, in several windows or on a cluster; `!` runs
# them from a notebook. The demo's store:

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import optuna
import pandas as pd

import avocado
from avocado.simulation.compendium import DemoSettings

demo = avocado.simulate("demo/compendium", settings=DemoSettings(sizes=(("chr20", 1_200_000),)))
store = avocado.ingest(demo / "compendium.tsv", "demo/store", demo / "demo.chrom.sizes", ["chr20"])

# %% [markdown]
# ## A search
#
# A trial trains with some values and is judged by its MSE on **validation tracks**, a quarter of the training tracks.
# The tracks of the fold that is held out are for the end. `sweep.space.<key>=` says what is searched: any key of
# model, optimizer, fit and epochs. Three trials of a small model and few steps, to see how it works; a real search
# has 50 to 1,000.

# %%
# !avocado sweep sweep=small sweep.name=demo sweep.trials=3 store=demo/store stage=joint chrom=chr20 runs=demo/runs \
#     fit.min_steps=40 trainer.progress=false 'sweep.space.optimizer.learning_rate={low:1e-3,high:1e-2,log:true}'

# %% [markdown]
# Typed again it goes on; typed in several windows at once, or on several machines with a database as
# `sweep.storage=postgresql://…`, they share the work. The study is one of Optuna, with all that Optuna offers:

# %%
study = optuna.load_study(study_name="demo", storage="sqlite:///demo/runs/sweeps/demo.db")
trials = study.trials_dataframe(attrs=("number", "value", "params", "state"))
trials.rename(columns=lambda name: name.rpartition(".")[2]).round(5)

# %% [markdown]
# ## Weights & Biases
#
# `logger=wandb` sends settings, curves, scores, pictures and the model of a run to your project (`wandb login` once).
# `logger.mode=offline` keeps them on disk, for machines without a network; the command says how to upload them later.
# Files such as `history.csv` and `scores.csv` are written in any case, so nothing depends on it.

# %%
# !avocado train store=demo/store stage=joint chrom=chr20 runs=demo/wandb_runs model=tiny fit.min_steps=40 \
#     trainer.progress=false logger=wandb logger.mode=offline 2>&1 | grep "W&B\|^joint\|^model\|^report\|^scores"

# %%
curve = pd.read_csv("demo/wandb_runs/joint/chr20/fold0/seed0/history.csv")
figure, ax = plt.subplots(figsize=(6, 2.6))
ax.plot(curve["epoch"], curve["train_mse"], color="#009e73")
ax.set_xticks(curve["epoch"])
ax.set(xlabel="epoch", ylabel="MSE of training tracks", title="What is in history.csv, and on W&B")
plt.show()

# %% [markdown]
# [Weights & Biases](../wandb.md) says what is logged; [more than one machine](../cluster.md), how trials and
# chromosomes are spread over a cluster.
