"""`avocado doctor`: what will work here, in one screen, and never a secret."""

import shutil
import stat
import subprocess
import sys

import pytest

from avocado.cli import doctor
from avocado.cli.doctor import FAILS, NOTE, OK, Finding

pytest_plugins = ["demo"]


def program(folder, name, script):
    """A program of that name, found first."""
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine with no program but those in the folder that is returned, and without a login at W&B."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    return folder


def test_all_is_well(avocado, bare, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(doctor, "PROBE", 1 << 20)
    answer = avocado("doctor")
    assert answer.status == 0
    lines = answer.out.splitlines()
    assert len(lines) <= 24  # one screen
    assert max(map(len, lines)) <= 100
    for about in ("libraries", "processor", "GPU", "memory", "folder", "temporary", "W&B", "Slurm", "terminal"):
        assert any(line[8:].startswith(about) for line in lines), about
    assert "torch 2." in answer.out
    assert "all that is needed is there" in answer.out
    assert not list(tmp_path.glob(".avocado-doctor*"))


def test_status_1_where_nothing_can_be_written(avocado, bare, tmp_path):
    answer = avocado("doctor", "path=nowhere")
    assert answer.status == 1
    assert "fails folder     nowhere: no such folder" in answer.out
    assert "nothing will work before this is mended: folder" in answer.out
    assert avocado("doctor", "pth=.").status == 2


@pytest.mark.parametrize("source", ["environment", "netrc"])
def test_a_key_is_found_and_not_shown(source, bare, monkeypatch, tmp_path):
    key = "0123456789abcdef" * 2 + "01234567"
    assert doctor._wandb().state == NOTE
    if source == "environment":
        monkeypatch.setenv("WANDB_API_KEY", key)
    else:
        (tmp_path / "netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {key}\n")
    found = doctor._wandb()
    assert found.state == OK
    assert f"is in {'the environment' if source == 'environment' else 'netrc'}" in found.text
    assert key[:8] not in str(found)
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org:8443/x")
    if source == "netrc":
        assert doctor._wandb().state == NOTE  # a login elsewhere is none here
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "WANDB_MODE=offline" in doctor._wandb().text


def test_slurm(bare, monkeypatch):
    assert doctor._slurm() == Finding(OK, "Slurm", doctor._slurm().text)
    program(bare, "sbatch", "true")
    program(bare, "sinfo", "echo gpu; echo cpu; echo gpu")
    found = doctor._slurm()
    assert "partitions gpu, cpu" in found.text
    monkeypatch.setattr(doctor, "_is_there", lambda module: False)
    assert doctor._slurm().remedy == 'pip install "avocado-imputation[launch]" to use it'
    program(bare, "sinfo", "echo 'Unable to contact slurm controller' >&2; exit 1")
    found = doctor._slurm()
    assert (found.state, found.text) == (NOTE, "sinfo: Unable to contact slurm controller")


def test_a_gpu_that_pytorch_does_not_see(bare, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert doctor._gpu().state == OK
    program(bare, "nvidia-smi", "true")
    assert doctor._gpu().state == NOTE


def test_broken_and_clashing_libraries(monkeypatch):
    monkeypatch.setitem(doctor.LIBRARIES, "numpy", "no_such_module")
    found = doctor._libraries()
    assert found.state == FAILS
    assert found.text == "numpy: No module named 'no_such_module'"
    monkeypatch.setitem(doctor.LIBRARIES, "numpy", "numpy")
    monkeypatch.setattr(doctor, "CLASHING", ("numpy",))
    assert "also claims `import avocado`" in doctor._libraries().text


@pytest.mark.parametrize("library", ["torch", "pytorch_lightning", "numpy", "pandas"])
def test_a_library_that_is_not_there_is_named_and_the_other_checks_go_on(library):
    blocked = f"import sys; sys.modules[{library!r}] = None; from avocado.cli import main; main()"
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", blocked, "doctor"], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (1, "")
    assert library in run.stdout
    assert "fails libraries" in run.stdout
    assert "ok    temporary" in run.stdout
    assert run.stdout.endswith("nothing will work before this is mended: libraries\n")


def test_more_threads_than_cores_and_little_memory(monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 10_000)
    assert doctor._processor().state == NOTE
    monkeypatch.setattr("avocado.cli.doctor.available_memory", lambda device: 1 << 30)
    assert (doctor._memory().state, doctor._memory().text) == (NOTE, "1.0 GiB free for this process")


def test_a_disk_without_room_or_speed(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "_speeds", lambda file: (500.0, 500.0))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=100 << 30))
    assert doctor._folder(tmp_path).state == OK
    monkeypatch.setattr(doctor, "_speeds", lambda file: (500.0, 5.0))
    assert "slow" in doctor._folder(tmp_path).remedy
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=1 << 30))
    assert "2 bytes for each track and bin" in doctor._folder(tmp_path).remedy


def test_speeds_are_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "PROBE", 1 << 20)
    assert min(doctor._speeds(tmp_path / "probe")) > 0
    assert (tmp_path / "probe").stat().st_size == 1 << 20


def test_lines_are_aligned_and_as_wide_as_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    lines = doctor.lines_of(Finding(NOTE, "W&B", "word " * 30, "wandb login"))
    assert len(lines) > 2
    assert max(map(len, lines)) <= 60
    assert lines[0].startswith("  note  W&B        word")
    assert all(len(line) - len(line.lstrip()) == 19 for line in lines[1:])
