#!/usr/bin/env python3
"""Looks at what is built in: licences, sources, versions that stand twice, code without a net. Offline.

    dependencies.py

Everything is read from `cargo metadata` and Cargo.lock. Advisories need a database that is fetched: where `cargo deny` or
`cargo audit` is installed and has one, it is asked; else it is said that nobody was asked.
The exit code is 1 where a licence, a source or a duplicate is not on the lists below.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

LICENCES = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CDLA-Permissive-2.0", "ISC", "MIT",
    "MIT-0", "OpenSSL", "Unicode-3.0", "Unlicense", "Zlib", "bzip2-1.0.6",
}
"""Licences under which a program may be given on, with their texts beside it. None asks for the source."""

ALONE = {"option-ext": "MPL-2.0"}
"""Crates with a licence of their own: MPL-2.0 asks for the source of its own files, which are unchanged and public."""

REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"

TWICE_MAX = 12
"""Crates that stand in more than one version; each costs size and a second place to mend. Lower it when it can be."""


def allowed(expression):
    """Whether an SPDX expression can be met: one side of an OR, both sides of an AND; exceptions only add rights."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    at = 0

    def either():
        nonlocal at
        met = both()
        while at < len(tokens) and tokens[at] == "OR":
            at += 1
            other = both()
            met = met or other
        return met

    def both():
        nonlocal at
        met = one()
        while at < len(tokens) and tokens[at] == "AND":
            at += 1
            other = one()
            met = met and other
        return met

    def one():
        nonlocal at
        token = tokens[at]
        at += 1
        if token == "(":
            met = either()
            at += 1
            return met
        if at + 1 < len(tokens) and tokens[at] == "WITH":
            at += 2
        return token in LICENCES

    return either()


def metadata():
    """What is built for this machine; crates of other systems are in Cargo.lock alone, which is looked through as well."""
    host = re.search(r"host: (\S+)", subprocess.run(["rustc", "-vV"], capture_output=True, text=True).stdout)[1]
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if said.returncode != 0:
        sys.exit(f"cargo metadata: {said.stderr}")
    return json.loads(said.stdout)


def advisories():
    """The first of the usual tools that is here, with the database that it has."""
    for tool, arguments in (("cargo-deny", ["check", "advisories"]), ("cargo-audit", ["audit", "--no-fetch"])):
        if shutil.which(tool):
            verb = ["cargo", tool.removeprefix("cargo-"), *(a for a in arguments if a != "audit")]
            if tool == "cargo-deny":
                verb = ["cargo", "deny", "--offline", *arguments]
            said = subprocess.run(verb, cwd=ROOT, capture_output=True, text=True)
            return f"{tool} ended with {said.returncode}", said.returncode == 0 or "database" in said.stderr, said.stderr
    return "nobody was asked: neither cargo-deny nor cargo-audit is installed", True, ""


def main():
    for expression, good in (
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-2.0/MIT", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", True),
        ("(MIT OR Apache-2.0) AND AGPL-3.0-only", False),
    ):
        assert allowed(expression) == good, expression
    wrong = []
    graph = metadata()
    own = set(graph["workspace_members"])
    built = {node["id"] for node in graph["resolve"]["nodes"]}
    packages = [package for package in graph["packages"] if package["id"] in built - own]
    for package in packages:
        name = f"{package['name']} {package['version']}"
        licence = package["license"]
        if licence is None:
            wrong.append(f"{name}: no licence, only {package['license_file']}")
        elif not allowed(licence) and ALONE.get(package["name"]) != licence:
            wrong.append(f"{name}: its licence is {licence}")
    versions = {}
    for package in packages:
        versions.setdefault(package["name"], []).append(package["version"])
    twice = {name: sorted(found) for name, found in versions.items() if len(found) > 1}
    if len(twice) > TWICE_MAX:
        wrong.append(f"{len(twice)} crates stand in several versions, at most {TWICE_MAX} may: {twice}")
    lock = (ROOT / "Cargo.lock").read_text()
    strange = re.findall(r'name = "([^"]+)"\nversion = "[^"]+"\nsource = "([^"]+)"', lock)
    wrong += [f"{name}: comes from {source}, not from the registry" for name, source in strange if source != REGISTRY]
    unsealed = re.findall(r'name = "([^"]+)"\nversion = "[^"]+"\nsource = "[^"]+"\n(?!checksum)', lock)
    wrong += [f"{name}: Cargo.lock has no checksum of it" for name in unsealed]
    if not re.search(r'^unsafe_code = "forbid"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE):
        wrong.append("Cargo.toml no longer forbids unsafe code")
    told, good, said = advisories()
    if not good:
        wrong.append(f"advisories: {told}\n{said}")
    print(f"{len(packages)} crates, all from the registry with checksums; {len(twice)} in several versions; advisories: {told}")
    if wrong:
        sys.exit("\n".join(wrong))


main()
