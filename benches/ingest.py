#!/usr/bin/env python3
"""Times `ddu ingest` beside polars and pandas: workbooks in, a Delta table out, whole processes from start to exit.

    ingest.py [--ddu PATH] [--sizes 10k,100k,500k,max] [--many] [--rounds 3] [--peers polars,…] [--floor]

Every round runs each contender once, in turn and in an order that rotates, with fresh folders, so that what the machine
does meanwhile falls on all of them. Memory is the largest sum of VmHWM over all processes that a contender has alive at
one time, so DDU's reader counts beside its parent. Every table is counted with another reader after the clock stops.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True  # Nothing may be left behind in the checkout.
import workbooks

SIZES = {"10k": 10_000, "100k": 100_000, "500k": 500_000, "max": workbooks.ROWS_MAX}
PEERS = ["polars", "pandas-calamine", "pandas-openpyxl"]
MANY_FILES, MANY_ROWS = 200, 500
POLL_S = 0.02
WALL_SHARE_WANTED = 1 / 2
MEMORY_SHARE_WANTED = 1 / 3
MANY_SHARE_WANTED = 1 / 4
WANTED_FROM_ROWS = 100_000
COST_GROWTH_WANTED = 1.25
"""How much more a row may cost at the largest size than at the smallest before its cost is no longer flat."""


# A run and what it took.


def processes_of(root):
    """The process and everything below it, as long as they live."""
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children") as children:
                    queue.extend(int(child) for child in children.read().split())
        except OSError:
            pass
    return found


def high_water_kib(pid):
    """Most memory that a process ever had resident; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def watch(pid, stop, found):
    """Keeps the largest sum over the processes alive together, and the largest of each kind."""
    while not stop.wait(POLL_S):
        kib = [high_water_kib(process) for process in processes_of(pid)]
        found["sum"] = max(found.get("sum", 0), sum(kib))
        found["parent"] = max(found.get("parent", 0), kib[0])
        found["child"] = max(found.get("child", 0), max(kib[1:], default=0))


def timed(command, cwd=None):
    """Runs a command to its end: wall seconds, processor seconds, peak memory in MiB of the tree, parent and child."""
    said = tempfile.TemporaryFile()
    before = os.times()
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    stop, found = threading.Event(), {}
    watcher = threading.Thread(target=watch, args=(process.pid, stop, found))
    watcher.start()
    code = process.wait()
    wall = time.perf_counter() - began
    stop.set()
    watcher.join()
    after = os.times()
    if code != 0:
        said.seek(0)
        sys.exit(f"{' '.join(map(str, command))} ended with {code}:\n{said.read().decode(errors='replace')}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    mib = {key: kib / 1024 for key, kib in found.items()}
    return {"wall": wall, "cpu": cpu, "mib": mib.get("sum", 0), "parent": mib.get("parent"), "child": mib.get("child")}


# The contenders. Each takes the workbooks and a fresh folder, and returns its measure and its table.


def ddu(program, books, folder):
    """The daemon's own journey up to the staged table; the workbooks are put into the dropbox before the clock starts."""
    dropbox = folder / "dropbox"
    dropbox.mkdir()
    for book in books:
        # A second name of the same bytes: the journey renames it and never writes into it.
        os.link(book, dropbox / book.name)
    table = "accounts"
    sidecars = {book.name: {"table_name": table, "target_entity": "account"} for book in books}
    (dropbox / "all.json").write_text(json.dumps(sidecars))
    config = {
        "dropbox": "dropbox", "lakehouse": "lakehouse", "target": {"kind": "sandbox"}, "listen": None,
        "settle_ms": 10, "sidecar_wait_ms": 0, "poll_ms": 50,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    took = timed([program, "ingest", "--config", folder / "config.json"], cwd=folder)
    return took, folder / "lakehouse" / "migration" / table


def peer(name, books, folder):
    """A Python process that reads the workbooks and appends each to the table."""
    table = folder / "table"
    return timed([sys.executable, __file__, "--as", name, table, *books]), table


def be_polars(table, books):
    import polars

    for book in books:
        polars.read_excel(book, engine="calamine").write_delta(table, mode="append")


def be_pandas(engine):
    def run(table, books):
        import pandas
        from deltalake import write_deltalake

        for book in books:
            write_deltalake(table, pandas.read_excel(book, engine=engine), mode="append")

    return run


CONTENDERS = {
    "polars": be_polars,
    "pandas-calamine": be_pandas("calamine"),
    "pandas-openpyxl": be_pandas("openpyxl"),
}


def rows_in(table):
    """The rows of a table, counted from its files by a reader that no contender is."""
    from deltalake import DeltaTable

    return DeltaTable(table).to_pyarrow_dataset().count_rows()


def one_run(name, program, books, wanted_rows, scratch):
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=scratch))
    try:
        took, table = ddu(program, books, folder) if name == "ddu" else peer(name, books, folder)
        found = rows_in(table)
        if found != wanted_rows:
            sys.exit(f"{name} made a table of {found} rows out of {wanted_rows}")
        return took
    finally:
        shutil.rmtree(folder)


# The floor: what no reader can do without.


def median_wall(command, rounds):
    return statistics.median(timed(["/bin/sh", "-c", command])["wall"] for _ in range(rounds))


def floor(book, rounds, scratch):
    """Seconds to inflate the two large parts, to scan them for `<`, and to write the rows as Parquet with zstd."""
    import polars

    inflate = "unzip -p {book} {part} | wc -c >/dev/null"
    parts = ["xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"]
    took = {f"inflate {part}": median_wall(inflate.format(book=book, part=part), rounds) for part in parts}
    both = " ".join(parts)
    took["inflate and find every tag"] = median_wall(f"unzip -p {book} {both} | tr -cd '<' | wc -c >/dev/null", rounds)
    table = polars.read_excel(book, engine="calamine").to_arrow()
    import pyarrow.parquet

    walls = []
    for _ in range(rounds):
        began = time.perf_counter()
        pyarrow.parquet.write_table(table, scratch / "floor.parquet", compression="zstd")
        walls.append(time.perf_counter() - began)
    took["write Parquet with zstd, pyarrow"] = statistics.median(walls)
    (scratch / "floor.parquet").unlink()
    return took


# The report.


def held(holds):
    return "holds" if holds else "DOES NOT HOLD"


def report(title, rows, runs):
    """One table: medians of every contender, and what they are to polars."""
    print(f"\n## {title}\n")
    print("| contender | wall s (least – most) | cpu s | peak MiB | µs a row | rows/s | wall to polars | memory to polars |")
    print("|---|---|---|---|---|---|---|---|")
    medians = {}
    for name, took in runs.items():
        wall = statistics.median(run["wall"] for run in took)
        medians[name] = (wall, statistics.median(run["mib"] for run in took))
    for name, took in runs.items():
        wall, mib = medians[name]
        walls = [run["wall"] for run in took]
        cpu = statistics.median(run["cpu"] for run in took)
        memory = f"{mib:.0f}"
        if name == "ddu":
            parent, child = (max(run[key] or 0 for run in took) for key in ("parent", "child"))
            memory += f" (parent {parent:.0f}, reader {child:.0f})"
        shares = ["", ""]
        if "polars" in medians:
            base = medians["polars"]
            shares = [f"{wall / base[0]:.2f}", f"{mib / base[1]:.2f}"]
        print(
            f"| {name} | {wall:.2f} ({min(walls):.2f} – {max(walls):.2f}) | {cpu:.2f} | {memory} "
            f"| {wall / rows * 1e6:.1f} | {rows / wall:,.0f} | {shares[0]} | {shares[1]} |",
            flush=True,
        )
    return medians


def wanted_at(rows, medians):
    if "polars" not in medians or "ddu" not in medians or rows < WANTED_FROM_ROWS:
        return
    wall, mib = (medians["ddu"][at] / medians["polars"][at] for at in (0, 1))
    print(f"\nwall: wanted at most {WALL_SHARE_WANTED:.2f} of polars, found {wall:.2f}: {held(wall <= WALL_SHARE_WANTED)}")
    print(f"memory: wanted at most {MEMORY_SHARE_WANTED:.2f}, found {mib:.2f}: {held(mib <= MEMORY_SHARE_WANTED)}")


def machine():
    with open("/proc/cpuinfo") as info:
        model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown")
    return f"{model}, {os.cpu_count()} processors, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"


def measure(title, books, rows, contenders, given, scratch):
    """All rounds of one size."""
    runs = {name: [] for name in contenders}
    for turn in range(given.rounds):
        for at in range(len(contenders)):
            name = contenders[(turn + at) % len(contenders)]
            runs[name].append(one_run(name, given.ddu, books, rows, scratch))
    return report(f"{title}, {given.rounds} rounds", rows, runs)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--ddu", type=pathlib.Path, default=pathlib.Path("target/release/ddu"))
    arguments.add_argument("--sizes", default="10k,100k,500k,max", help="of 10k, 100k, 500k, max; or numbers of rows")
    arguments.add_argument("--many", action="store_true", help=f"also {MANY_FILES} files of {MANY_ROWS} rows")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--peers", default="polars", help=f"of {','.join(PEERS)}; `none` for DDU alone")
    arguments.add_argument("--inline", action="store_true", help="workbooks with their texts in the cells")
    arguments.add_argument("--floor", action="store_true", help="also what inflating and writing cost at least")
    arguments.add_argument("--work", type=pathlib.Path, help="keep the workbooks there for the next run")
    given = arguments.parse_args()
    given.ddu = given.ddu.resolve()
    if not given.ddu.exists():
        arguments.error(f"{given.ddu} is not there; cargo build --release")
    peers = [name for name in given.peers.split(",") if name not in ("", "none")]
    if unknown := set(peers) - set(PEERS):
        arguments.error(f"no peer {', '.join(unknown)}; there are {', '.join(PEERS)}")
    contenders = ["ddu", *peers]
    sizes = [SIZES.get(size) or int(size) for size in given.sizes.split(",") if size != "none"]
    if given.work:
        given.work.mkdir(parents=True, exist_ok=True)
    print(f"{machine()}; {given.ddu}")
    with tempfile.TemporaryDirectory(prefix="ddu-bench-", dir=given.work) as scratch:
        scratch = pathlib.Path(scratch)
        shelf = given.work or scratch
        costs = {}
        for rows in sizes:
            book = shelf / f"accounts-{rows}{'-inline' if given.inline else ''}.xlsx"
            if not book.exists():
                workbooks.write_xlsx(book, workbooks.Rows(rows, seed=1), given.inline)
            title = f"{rows:,} rows × 12, {book.stat().st_size / 1e6:.1f} MB"
            medians = measure(title, [book], rows, contenders, given, scratch)
            costs[rows] = medians["ddu"][0] / rows
            wanted_at(rows, medians)
            if given.floor:
                for what, seconds in floor(book, given.rounds, scratch).items():
                    print(f"floor: {what}: {seconds:.2f} s")
        if len(costs) > 1:
            growth = costs[max(costs)] / costs[min(costs)]
            print(f"\ncost of a row at {max(costs):,} rows to that at {min(costs):,}: wanted at most "
                  f"{COST_GROWTH_WANTED}, found {growth:.2f}: {held(growth <= COST_GROWTH_WANTED)}")  # fmt: skip
        if given.many:
            folder = shelf / "many"
            if not folder.exists():
                workbooks.write_many(folder, MANY_FILES, MANY_ROWS)
            rows = MANY_FILES * MANY_ROWS
            title = f"{MANY_FILES} files × {MANY_ROWS} rows"
            medians = measure(title, sorted(folder.glob("*.xlsx")), rows, contenders, given, scratch)
            if "polars" in medians:
                share = medians["ddu"][0] / medians["polars"][0]
                print(f"\nmany: wanted at most {MANY_SHARE_WANTED} of polars, found {share:.2f}: "
                      f"{held(share <= MANY_SHARE_WANTED)}")  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) > 3 and sys.argv[1] == "--as":
        CONTENDERS[sys.argv[2]](sys.argv[3], sys.argv[4:])
    else:
        main()
