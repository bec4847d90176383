# %% [markdown]
# # Tutorial: few recordings, many photos
#
# Ten drawn objects, recorded by a simulated event camera, take the place of a data set here: nothing is downloaded, and
# all of it takes about a minute on one core. Two labelled recordings of each class, and the photos, train a small
# spiking network; the same network with the recordings alone stands beside it.
#
# Each step is also a command (`dvs-transfer preprocess`, `train`, `evaluate`), by the same names.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from dvs_transfer import PairedCache, evaluate, load_config, predict, preprocess, train
from dvs_transfer.pipeline import shipped

# %% [markdown]
# ## A configuration
#
# One file describes an experiment. We copy the demo's, as `dvs-transfer config init demo` does, and make it smaller.
# The values are those that `--set` takes on the command line.

# %%
root = Path("tutorial")  # data/ and runs/ come to lie in it
file = root / "demo.toml"
if not file.exists():
    shipped.copy("demo", file)
smaller = [
    "demo.images_per_class=20",
    "demo.simulation.sensor_width=64",
    "demo.simulation.sensor_height=64",
    "frames.size=24",
    "frames.num_bins=3",
    "train.epochs=10",
    "train.threads=1",
]
config = load_config(file, smaller)

# %% [markdown]
# ## From raw data to pairs
#
# `preprocess` draws the photos, records them, cuts each recording into three time bins, one for each motion of the
# camera, and pairs recordings with photos. Called again, it finds that everything is up to date.

# %%
made = preprocess(config, root)
pairs = made.pairs
print(f"{made.events.num_samples} recordings, {made.events.num_events:,} events")
print(f"training {pairs.num_train}, validation {pairs.num_validation}, test {pairs.num_test}")
print(f"{pairs.num_pool} photos to teach with")
print(f"photos of held-out recordings among them: {pairs.photos_in_reach}")

# %% [markdown]
# The last line is the protocol `disjoint`: the photo that a test recording was made from teaches nothing.
#
# A split is a torch data set. Events are counts, (time bins, polarity, height, width); `value` is the brightness of the
# recording's photo.

# %%
split = PairedCache.open(pairs.path, split="train")


def in_colours(frame):
    """Counts (2, H, W) of a time bin on white: ON red, OFF blue."""
    off, on = np.minimum(np.asarray(frame) / 4, 1)
    return np.stack([1 - off, 1 - np.maximum(off, on), 1 - on], axis=-1)


figure, rows = plt.subplots(4, split.num_bins + 1, figsize=(6, 6))
for row, index in zip(rows, range(0, len(split), 5), strict=True):
    sample = split[index]
    for time_bin, axes in enumerate(row[:-1]):
        axes.imshow(in_colours(sample["events"][time_bin]))
    row[-1].imshow(sample["value"][0], cmap="gray", vmin=0, vmax=1)
    row[0].set_ylabel(split.class_names[sample["label"]])
for axes in rows.flat:
    axes.set(xticks=[], yticks=[])
rows[0, 0].set_title("first bin", fontsize=9)
rows[0, -1].set_title("photo", fontsize=9)
figure.tight_layout()

# %% [markdown]
# ## Train
#
# The demo shows photos as an event camera would see them when it moves: `train.encoding = "saccade"`. The `baseline` of
# a configuration is the same experiment with other values, here with the recordings alone. A training that was
# interrupted goes on where it was.


# %%
def tell(at):
    if at.ends_epoch:
        print(f"  epoch {at.epoch}: loss {at.loss:.2f}, training accuracy {at.train_accuracy:.0%}")


runs = {}
for experiment in config.with_baseline():
    print(experiment.name)
    runs[experiment.name], trained = train(experiment, root, on_progress=tell)

# %% [markdown]
# ## Evaluate
#
# Both on the same test recordings, with an interval by bootstrap. Chance is one in ten.

# %%
results = {name: evaluate(run) for name, run in runs.items()}
for name, result in results.items():
    low, high = result.top1_interval
    print(f"{name}: {result.top1:.0%} of {result.num_samples} recordings, 95 %: {low:.0%} to {high:.0%}")

# %% [markdown]
# One seed and a short training say little; `compare_runs` puts several seeds into one table, with paired tests.
#
# ## What is taken for what

# %%
confusion = np.array(results["demo"].confusion)
figure, axes = plt.subplots(figsize=(4.6, 4))
axes.imshow(confusion, cmap="Blues")
names = [each.name for each in results["demo"].classes]
axes.set_xticks(range(len(names)), names, rotation=90)
axes.set_yticks(range(len(names)), names)
axes.set(xlabel="predicted", ylabel="class")
figure.tight_layout()

# %% [markdown]
# ## Name new recordings
#
# `predict` takes files that nobody labelled; here those of the class that is named rightly most often. Two of them
# trained.

# %%
best = max(results["demo"].classes, key=lambda each: each.accuracy)
print(best.name)
named = predict(runs["demo"], root / "data/raw/demo/N-Caltech101/Caltech101" / best.name, top=2)
for prediction in named.predictions[:5]:
    guesses = ", ".join(f"{guess.predicted} {guess.probability:.0%}" for guess in prediction.best)
    print(f"{Path(prediction.file).name}: {guesses}")

# %% [markdown]
# From here: [your own recordings](datasets/your-own.md), [what each function takes](python.md), and
# [which methods there are](methods.md).
