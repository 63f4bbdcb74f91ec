#!/usr/bin/env python3
"""Times how DDU writes rows to Dataverse, at the rehearsal server, beside two clients that people write themselves.

    sending.py [--ddu PATH] [--rows 100000] [--rounds 3] [--latency 1,20,200] [--throttled]

`ddu` stages the rows first (`ddu ingest`, not timed) and is then timed from the start of `ddu migrate` to its exit, preflight,
journal and books included. `sequential` sends one row a request, one request at a time; `fixed` sends batches of a fixed
size, a fixed number of them at once, and after a 429 sleeps as long as the server says. Both are Python, write the same
rows as upserts under ids of their own, check nothing and remember nothing: what they lack costs them no time.
The server counts what it admitted and what it refused (`/sandbox/report`).
"""

import argparse
import csv
import http.client
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid

sys.dont_write_bytecode = True  # Nothing may be left behind in the checkout.
import workbooks

API = "/api/data/v9.2/"
SECRET = "DDU_BENCH_SECRET"
CLIENT = "66666666-7777-8888-9999-000000000000"
FIXED_ROWS, FIXED_AT_ONCE = 100, 16
SEQUENTIAL_ROWS = 3_000
"""Rows that the sequential client sends; its rate does not change with their number."""
SHARE_WANTED, WASTE_WANTED = 0.95, 0.01
COLUMNS = {"Account Number": "accountnumber", "Account Name": "name", "Main Phone": "telephone1"}


class Server:
    """A rehearsal server of its own, with a fresh store."""

    def __init__(self, program, folder, options):
        command = [program, "sandbox", "--listen", "127.0.0.1:0", "--store", folder / "sandbox.sqlite", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        self.url = re.search(r"http://[^/\s]+", line).group(0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def report(self):
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.url).netloc)
        connection.request("GET", "/sandbox/report")
        answer = connection.getresponse()
        return json.loads(answer.read()) if answer.status == 200 else None


# The contenders. Each writes the rows of a file and says what it took.


def ddu(program, book, rows, server, folder):
    dropbox = folder / "dropbox"
    dropbox.mkdir()
    os.link(book, dropbox / "accounts.csv")
    sidecar = {"target_entity": "account", "columns": COLUMNS}
    (dropbox / "accounts.csv.json").write_text(json.dumps(sidecar))
    config = {
        "dropbox": "dropbox", "lakehouse": "lakehouse", "listen": None, "settle_ms": 10, "sidecar_wait_ms": 0, "poll_ms": 50,
        "target": {
            "kind": "dataverse", "url": server.url, "authority": server.url, "client_id": CLIENT,
            "tenant_id": "11111111-2222-3333-4444-555555555555", "client_secret_env": SECRET,
        },
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    environment = {**os.environ, SECRET: "rehearsal"}

    def run(command):
        before, began = os.times(), time.perf_counter()
        done = subprocess.run(
            [program, command, "--config", folder / "config.json"],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        wall, after = time.perf_counter() - began, os.times()
        if done.returncode != 0:
            sys.exit(f"ddu {command} ended with {done.returncode}:\n{done.stderr}")
        return wall, after.children_user + after.children_system - before.children_user - before.children_system

    run("ingest")
    wall, cpu = run("migrate")
    return {"rows": rows, "wall": wall, "cpu": cpu}


def peer(name, book, rows, server):
    command = [sys.executable, __file__, "--as", name, book, server.url, str(rows)]
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, check=True)
    wall, after = time.perf_counter() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"rows": rows, "wall": wall, "cpu": cpu}


def bodies(book, count):
    """The rows as JSON bodies under ids of their own."""
    with open(book, newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file)):
            if number == count:
                return
            yield str(uuid.uuid4()), json.dumps({to: row[header] for header, to in COLUMNS.items()})


def token(connection, url):
    form = urllib.parse.urlencode({
        "grant_type": "client_credentials", "client_id": CLIENT, "client_secret": "any", "scope": f"{url}/.default",
    })  # fmt: skip
    connection.request("POST", "/t/oauth2/v2.0/token", form, {"Content-Type": "application/x-www-form-urlencoded"})
    return json.loads(connection.getresponse().read())["access_token"]


def be_sequential(book, url, rows):
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)
    headers = {"Authorization": f"Bearer {token(connection, url)}", "Content-Type": "application/json"}
    for record, body in bodies(book, rows):
        while True:
            connection.request("PATCH", f"{API}accounts({record})", body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 429:
                break
            time.sleep(float(answer.headers.get("Retry-After", "5")))


def be_fixed(book, url, rows):
    work, lock = bodies(book, rows), threading.Lock()

    def send():
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)
        headers = {
            "Authorization": f"Bearer {token(connection, url)}", "Prefer": "odata.continue-on-error",
            "Content-Type": "multipart/mixed; boundary=b",
        }  # fmt: skip
        while True:
            with lock:
                batch = [row for _, row in zip(range(FIXED_ROWS), work)]
            if not batch:
                return
            parts = [
                "--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
                f"PATCH {API}accounts({record}) HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{body}\r\n"
                for record, body in batch
            ]
            payload = ("".join(parts) + "--b--\r\n").encode()
            while True:
                connection.request("POST", f"{API}$batch", payload, headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 429:
                    break
                time.sleep(float(answer.headers.get("Retry-After", "5")))

    threads = [threading.Thread(target=send) for _ in range(FIXED_AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


CONTENDERS = {"sequential": be_sequential, "fixed": be_fixed}


# What is measured.


def one_run(name, given, book, rows, script, scratch):
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=scratch))
    options = []
    if script:
        (folder / "script.json").write_text(json.dumps(script))
        options = ["--faults", folder / "script.json"]
    try:
        with Server(given.ddu, folder, options) as server:
            if name == "ddu":
                took = ddu(given.ddu, book, rows, server, folder)
            else:
                # Half a minute of it says enough.
                wait = (script or {}).get("protection", {}).get("latency_ms", 0)
                few = int(min(rows, SEQUENTIAL_ROWS, 30_000 / (wait + 1)))
                took = peer(name, book, few if name == "sequential" else rows, server)
            took["report"] = server.report() if script else None
            return took
    finally:
        shutil.rmtree(folder)


def medians(runs):
    """Rows a second and processor time of a row in microseconds, medians."""
    rates = [run["rows"] / run["wall"] for run in runs]
    return statistics.median(rates), statistics.median(run["cpu"] / run["rows"] * 1e6 for run in runs)


def share_of(report):
    """What was used of the nearest limit, from the first request on: of all requests, or of all execution time, that the
    limits allow in that time."""
    limits, windows = report["limits"], report["seconds"] / report["limits"]["window_s"]
    requests = report["requests"] / (limits["requests"] * windows)
    return max(requests, report["execution_ms"] / 1000 / (limits["execution_s"] * windows))


def measure(title, given, book, rows, script, scratch, contenders):
    runs = {name: [] for name in contenders}
    for turn in range(given.rounds):
        for at in range(len(contenders)):
            name = contenders[(turn + at) % len(contenders)]
            runs[name].append(one_run(name, given, book, rows, script, scratch))
    print(f"\n## {title}, {given.rounds} rounds\n")
    print("| contender | rows/s | client's processor time, µs a row | to ddu | requests | refused (429) | share of the limit |")
    print("|---|---|---|---|---|---|---|")
    base, found = medians(runs["ddu"])[0], {}
    for name, took in runs.items():
        rate, cpu = medians(took)
        counted = ["", "", ""]
        if script and took[0]["report"]:
            refused = statistics.median(sum(run["report"]["refused"].values()) for run in took)
            requests = statistics.median(run["report"]["requests"] for run in took)
            share = statistics.median(share_of(run["report"]) for run in took)
            found[name] = (share, refused / max(1, requests + refused))
            counted = [f"{requests:.0f}", f"{refused:.0f} ({found[name][1]:.1%})", f"{share:.2f}"]
        print(f"| {name} | {rate:,.0f} | {cpu:.0f} | {rate / base:.2f} | {' | '.join(counted)} |", flush=True)
    return base, found


def held(holds):
    return "holds" if holds else "DOES NOT HOLD"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--ddu", type=pathlib.Path, default=pathlib.Path("target/release/ddu"))
    arguments.add_argument("--rows", type=int, default=100_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--peers", default="sequential,fixed", help="of sequential, fixed; `none` for DDU alone")
    arguments.add_argument("--latency", default="", help="milliseconds to the server and back, like 1,20,200")
    arguments.add_argument("--throttled", action="store_true", help="also under the documented limits, in windows of 20 s")
    given = arguments.parse_args()
    given.ddu = given.ddu.resolve()
    if not given.ddu.exists():
        arguments.error(f"{given.ddu} is not there; cargo build --release")
    contenders = ["ddu", *(name for name in given.peers.split(",") if name not in ("", "none"))]
    print(f"{os.cpu_count()} processors, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}; {given.ddu}")
    with tempfile.TemporaryDirectory(prefix="ddu-bench-") as scratch:
        scratch = pathlib.Path(scratch)
        book = scratch / "accounts.csv"
        workbooks.write_csv(book, workbooks.Rows(given.rows, seed=1))
        title = f"{given.rows:,} rows"
        measure(f"{title}, no limits", given, book, given.rows, None, scratch, contenders)
        rates = {}
        for latency in filter(None, given.latency.split(",")):
            # Work that waits and takes no processor, as a service elsewhere does.
            script = {"protection": {
                "window_s": 300, "requests": 10**6, "execution_s": 10**6, "concurrent": 10**4,
                "latency_ms": float(latency), "request_ms": 2, "operation_ms": 0.05,
            }}  # fmt: skip
            name = f"{title}, {latency} ms to the server"
            rates[latency], _ = measure(name, given, book, given.rows, script, scratch, contenders)
        if given.throttled:
            # The documented limits of 300 s in windows of 20 s; an operation costs three milliseconds of execution time.
            script = {"protection": {
                "window_s": 20, "requests": 400, "execution_s": 80, "concurrent": 52,
                "latency_ms": 20, "request_ms": 2, "operation_ms": 3,
            }}  # fmt: skip
            _, found = measure(f"{title}, throttled", given, book, given.rows, script, scratch, contenders)
            share, waste = found["ddu"]
            print(f"\nshare of the limit: wanted at least {SHARE_WANTED}, found {share:.2f}: {held(share >= SHARE_WANTED)}")
            print(f"refused requests: wanted below {WASTE_WANTED:.0%}, found {waste:.1%}: {held(waste < WASTE_WANTED)}")


if __name__ == "__main__":
    if len(sys.argv) > 4 and sys.argv[1] == "--as":
        CONTENDERS[sys.argv[2]](sys.argv[3], sys.argv[4], int(sys.argv[5]))
    else:
        main()
