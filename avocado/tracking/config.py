"""Whether and where runs are tracked: `logger.<key>`."""

from __future__ import annotations

from dataclasses import dataclass

from avocado.errors import InputError
from avocado.utils.settings import setting

MODES = ("online", "offline", "disabled")


@dataclass(frozen=True)
class Tracking:
    """Where runs are tracked, and under which heading."""

    mode: str = setting("disabled", "of Weights & Biases: online, offline (upload later) or disabled")
    project: str = setting("avocado", "W&B project")
    entity: str | None = setting(None, "W&B user or team; null: your default")
    group: str | None = setting(
        None,
        "W&B group of stages, chromosomes, folds, or trials; null: the name of the folder of runs or of the sweep",
    )
    upload_factors: bool = setting(
        False, "upload genome factors too, about 1 GB for a large chromosome, not only where they lie"
    )

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(f"logger.mode={self.mode}: there is {', '.join(MODES)}")
