"""Runs the commands of docs/commands.md on the demo, and writes what they print to docs/outputs/.

    python docs/render_outputs.py FOLDER [VERB ...]

FOLDER: where `python train.py` has been carried out; further files and folders come to it. VERB: of some commands only.
The page shows each command with what it printed. Commands that need a network or files of other programs are not run.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

OUT = Path(__file__).resolve().parent / "outputs"
COLUMNS = 108
LINES = 36  # of what is printed, at most: the beginning and the end
MODEL, STORE, DEMO = "runs/model/fold0/seed0", "data/demo/store", "data/demo/compendium"
# in the order in which one makes what the next one takes
COMMANDS = {
    "simulate": "avocado simulate out=small 'chromosomes={chr20: 300000}' progress=false",
    "ingest": "avocado ingest table=small/compendium.tsv assembly=small/demo.chrom.sizes regions=chr20 out=small_store "
    "progress=false",
    "train": f"avocado train store={STORE} stage=joint chrom=chr21 runs=small_runs trainer.progress=false",
    "sweep": "avocado sweep sweep=small sweep.name=try sweep.trials=2 store=small_store stage=joint chrom=chr20 "
    "runs=small_runs fit.min_steps=40 trainer.progress=false",
    "genome": f"avocado genome store={STORE} runs=whole out='whole/{{cell}}-{{assay}}.bw' model=tiny fit.min_steps=100 "
    "trainer.progress=false",
    "impute": f"avocado impute model={MODEL} cell=stem1 assay=DNase out=stem1-DNase.bw progress=false",
    "hub": f"avocado hub model={MODEL} genes={DEMO}/genes.gtf.gz out=hub progress=false",
    "view": "avocado view hub open=false",
    "embed": f"avocado embed model={MODEL} regions=chr20:200,001-300,000 out=factors.parquet progress=false",
    "attribute": f"avocado attribute model={MODEL} cell=stem1 assay=H3K4me3 region=chr20 out='parts/{{part}}.bw' "
    "progress=false",
    "score": f"avocado score model={MODEL} store={STORE} region=chr20",
    "downstream": f"avocado downstream labels={DEMO}/expression.tsv cell=stem1 model={MODEL} out=expressed "
    "progress=false",
    "next": f"avocado next model={MODEL} k=3 progress=false",
    "inspect": f"avocado inspect {MODEL}",
    "doctor": "avocado doctor",
}  # fmt: skip
MADE = {  # what is made anew
    "simulate": ["small"],
    "ingest": ["small_store"],
    "train": ["small_runs"],
    "genome": ["whole"],
    "impute": ["stem1-DNase.bw", ".stem1-DNase.bw.json"],
    "hub": ["hub"],
    "embed": ["factors.parquet"],
    "attribute": ["parts"],
    "downstream": ["expressed"],
}


def output(command: str, folder: Path) -> str:
    """What a command prints, on both streams; one that serves is ended when it has said where."""
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    process = subprocess.Popen(
        shlex.split(command), cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Ctrl-C"):
            process.send_signal(signal.SIGINT)
            break
    process.communicate()
    if process.returncode not in (0, 130):
        raise SystemExit(f"{command}: exit status {process.returncode}\n{''.join(lines)}")
    return "".join(lines).replace(f"{folder}/", "").replace(str(folder), ".")


def shortened(text: str) -> str:
    """The beginning and the end of a long text."""
    lines = [line.rstrip() for line in text.strip("\n").splitlines()]
    if len(lines) <= LINES:
        return "\n".join(lines)
    return "\n".join([*lines[: LINES // 2], "...", *lines[-LINES // 2 :]])


def main(arguments: list[str]) -> None:
    """Run and write."""
    folder, verbs = Path(arguments[0]).resolve(), arguments[1:] or list(COMMANDS)
    OUT.mkdir(exist_ok=True)
    for verb in verbs:
        for name in MADE.get(verb, []):
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        said = shortened(output(COMMANDS[verb], folder))
        (OUT / f"{verb}.txt").write_text(f"$ {COMMANDS[verb]}\n{said}\n", encoding="utf-8")
        print(verb, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
