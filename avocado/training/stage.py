"""What a stage of training is: where it learns, what it learns, and what it needs from an earlier one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stage of training (Avocado paper, Training).

    name: of its settings in conf/stage, and of the folder of its runs. region: that it is always about; None: the
    chromosome that is asked for. trains_network: network, cell-type and assay factors learn, on masked tracks and,
    where asked for, in several processes; else they are frozen, and only the genome factors of the region are made.
    needs: the stage whose model it completes; None: it starts from nothing. shares_model: whether the model lies where
    later stages complete it, or with the run itself. adds: rows are added to any trained model, without epochs.
    epochs: passes over its region where the config does not say. meaning: in --help, of its key `epochs.<name>`.
    """

    name: str
    region: str | None = None
    trains_network: bool = True
    needs: str | None = None
    shares_model: bool = True
    adds: bool = False
    epochs: int = 4
    meaning: str = ""

    def region_for(self, chrom: str) -> str:
        """The region of a run of this stage, where `chrom` is the chromosome that is asked for."""
        return self.region or chrom
