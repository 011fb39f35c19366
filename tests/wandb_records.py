"""What offline runs of W&B have recorded, read back from their files."""

from __future__ import annotations

import json
import struct
import time

from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue]


def records(file):
    """The records of a .wandb file: blocks of 32 kB, in which each piece has checksum, length and kind."""
    content, at, whole = file.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while at < len(content):
        if 32768 - at % 32768 < 7:  # no room for a further piece
            at += 32768 - at % 32768
            continue
        if len(content) < at + 7:
            return
        _, length, kind = struct.unpack_from("<IHB", content, at)
        if len(content) < at + 7 + length:  # still being written
            return
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # all of a record, or its last piece
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


class Logged:
    """What one offline run has recorded."""

    def __init__(self, folder):
        (file,) = folder.glob("*.wandb")
        self.folder, self.history, self.summary, self.config = folder, [], {}, {}
        self.artifacts, self.metrics, self.exit_code = [], [], None
        for record in records(file):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            elif kind == "history":
                items = {".".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
                self.history.append(items)
            elif kind == "summary":
                self.summary |= {".".join(i.nested_key) or i.key: json.loads(i.value_json)
                                 for i in record.summary.update}  # fmt: skip
            elif kind == "artifact":
                self.artifacts.append(record.artifact)
            elif kind == "metric":
                self.metrics.append(record.metric)
            elif kind == "exit":
                self.exit_code = record.exit.exit_code

    def curve(self, name):
        return [(row["bins"], row[name]) for row in self.history if name in row]


def logged(directory):
    """All offline runs of a run's directory, the oldest first. The end of their files comes a moment after theirs."""
    folders, patience = sorted(directory.glob("wandb/offline-run-*")), time.monotonic() + 10
    found = [Logged(folder) for folder in folders]
    while any(run.exit_code is None for run in found) and time.monotonic() < patience:
        time.sleep(0.05)
        found = [Logged(folder) for folder in folders]
    return found
