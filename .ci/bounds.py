#!/usr/bin/env python3
"""Stages the largest sheet that Excel has and holds the program to its bound: parent and reader below 300 MB resident.

    bounds.py PATH/TO/ddu [--rows N] [--only xlsx|csv]

1,048,575 rows below a header, 12 columns, five texts a row that no other row has, as xlsx and as csv: some 900 MB of XML.
Both processes are looked at every 10 ms; what counts is the largest sum of their `VmHWM`, which the system itself keeps.
The exit code is 1 where a bound does not hold, and the rows of the table are counted by another reader.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from deltalake import DeltaTable

RESIDENT_KIB_MAX = 300_000_000 // 1024
"""Parent and reader together. 300 MB are less than 300 MiB."""
POLL_S = 0.01
WALL_S_MAX = 600


def benches():
    """The generator of workbooks, which the benches use as well."""
    path = pathlib.Path(__file__).parent.parent / "benches" / "workbooks.py"
    described = importlib.util.spec_from_file_location("workbooks", path)
    module = importlib.util.module_from_spec(described)
    # Nothing may be left behind in the checkout.
    sys.dont_write_bytecode = True
    described.loader.exec_module(module)
    return module


def children_of(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as children:
            found.extend(int(child) for child in children.read().split())
    return found


def high_water_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next((int(line.split()[1]) for line in status if line.startswith("VmHWM:")), 0)


class Peaks:
    """Most memory of the parent, of any reader, and of those alive together."""

    def __init__(self):
        self.parent = self.reader = self.together = 0

    def look(self, pid):
        try:
            parent = high_water_kib(pid)
            readers = []
            for child in children_of(pid):
                try:
                    readers.append(high_water_kib(child))
                except OSError:
                    pass
        except OSError:
            return
        self.parent = max(self.parent, parent)
        self.reader = max([self.reader, *readers])
        self.together = max(self.together, parent + sum(readers))


def ingest(ddu, folder, book, rows):
    """Stages one file in a folder of its own; whether every bound held."""
    dropbox = folder / "dropbox"
    dropbox.mkdir()
    os.rename(book, dropbox / book.name)
    config = {
        "dropbox": "dropbox", "lakehouse": "lakehouse", "target": {"kind": "sandbox"}, "listen": None,
        "settle_ms": 10, "sidecar_wait_ms": 0, "poll_ms": 50,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    peaks, began = Peaks(), time.monotonic()
    with open(folder / "said", "wb") as said:
        command = [ddu, "ingest", "--config", folder / "config.json"]
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        while process.poll() is None:
            peaks.look(process.pid)
            if time.monotonic() - began > WALL_S_MAX:
                process.kill()
            time.sleep(POLL_S)
    wall = time.monotonic() - began
    if process.returncode != 0:
        print(f"  FAIL {book.name}: `ddu ingest` ended with {process.returncode} after {wall:.0f} s")
        print((folder / "said").read_text(errors="replace")[-2_000:])
        return False
    found = sum(DeltaTable(folder / "lakehouse/migration/accounts").get_add_actions(flatten=True)["num_records"].to_pylist())
    mb = {name: kib * 1024 / 1e6 for name, kib in vars(peaks).items()}
    told = f"parent {mb['parent']:.0f} MB, reader {mb['reader']:.0f} MB, together {mb['together']:.0f} MB in {wall:.0f} s"
    holds = peaks.together <= RESIDENT_KIB_MAX
    print(f"  {'ok  ' if holds else 'FAIL'} {book.name}: {told}; the bound is {RESIDENT_KIB_MAX * 1024 / 1e6:.0f} MB")
    counted = found == rows
    print(f"  {'ok  ' if counted else 'FAIL'} {book.name}: {found} of {rows} rows are in the table")
    return holds and counted and peaks.reader > 0


def main():
    workbooks = benches()
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("ddu", type=pathlib.Path, help="the built program")
    arguments.add_argument("--rows", type=int, default=workbooks.ROWS_MAX, help="rows below the header")
    arguments.add_argument("--only", choices=["xlsx", "csv"], help="one of the two formats")
    given = arguments.parse_args()
    held = True
    for extension in [given.only] if given.only else ["xlsx", "csv"]:
        with tempfile.TemporaryDirectory(prefix="ddu-bounds-") as folder:
            folder = pathlib.Path(folder)
            book = folder / f"accounts.{extension}"
            began = time.monotonic()
            rows = workbooks.Rows(given.rows, seed=1)
            if extension == "csv":
                workbooks.write_csv(book, rows)
            else:
                workbooks.write_xlsx(book, rows, level=1)
            size = book.stat().st_size / 1e6
            print(f"{book.name}: {given.rows} rows × 12, {size:.0f} MB, made in {time.monotonic() - began:.0f} s", flush=True)
            held = ingest(given.ddu.resolve(), folder, book, given.rows) and held
    sys.exit(0 if held else "a bound does not hold")


if __name__ == "__main__":
    main()
